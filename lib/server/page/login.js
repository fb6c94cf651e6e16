// @ts-check
/// <reference lib="dom" />
/**
 * The login page: where to go on to, and whether the last token was wrong.
 *
 * @module
 */
import { byId } from "./dom.js";

const given = new URLSearchParams(location.search);
byId("next", HTMLInputElement).value = given.get("next") ?? "/";
byId("wrong", HTMLElement).hidden = !given.has("wrong");
byId("token", HTMLInputElement).focus();
