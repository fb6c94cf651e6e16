/** `deno task guard`: what the guardrails say of each line of a file, or of what is typed. */
import { TextLineStream } from "@lib/safety/line_stream.ts";
