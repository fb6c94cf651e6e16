/**
 * Where SVG text lies, reckoned from its attributes: jsdom knows no geometry, plotly.js needs some.
 *
 * @module
 */
import { textWidth } from "./text_width.ts";

/** The part of a DOM element that is read. */
export interface SvgNode {
  readonly tagName: string;
  readonly textContent: string | null;
  readonly parentElement: SvgNode | null;
  readonly style?: { readonly fontSize?: string; readonly textAnchor?: string };
  getAttribute(name: string): string | null;
  closest(selector: string): SvgNode | null;
  querySelectorAll(selector: string): Iterable<SvgNode>;
}

/** A rectangle; all zero where there is nothing to measure. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** An affine map `(x, y) → (a x + c y + e, b x + d y + f)`, as in SVG. */
type Matrix = readonly [a: number, b: number, c: number, d: number, e: number, f: number];

const IDENTITY: Matrix = [1, 0, 0, 1, 0, 0];
const DEFAULT_FONT = 12;
const LINE_HEIGHT = 1.3;
/** Share of the font size above the baseline. */
const ASCENT = 0.9;

function multiply(m: Matrix, n: Matrix): Matrix {
  return [
    m[0] * n[0] + m[2] * n[1],
    m[1] * n[0] + m[3] * n[1],
    m[0] * n[2] + m[2] * n[3],
    m[1] * n[2] + m[3] * n[3],
    m[0] * n[4] + m[2] * n[5] + m[4],
    m[1] * n[4] + m[3] * n[5] + m[5],
  ];
}

function rotation(degrees: number, x: number, y: number): Matrix {
  const angle = degrees * Math.PI / 180;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return [cos, sin, -sin, cos, x - cos * x + sin * y, y - sin * x - cos * y];
}

/** Parses a `transform` attribute made of translate, rotate and scale. */
function parseTransform(text: string): Matrix {
  let matrix = IDENTITY;
  for (const [, name, list = ""] of text.matchAll(/(translate|rotate|scale)\(([^)]*)\)/g)) {
    const [a = 0, b = 0, c = 0] = list.split(/[\s,]+/).filter(Boolean).map(Number);
    if (name === "translate") matrix = multiply(matrix, [1, 0, 0, 1, a, b]);
    else if (name === "rotate") matrix = multiply(matrix, rotation(a, b, c));
    else matrix = multiply(matrix, [a, 0, 0, b || a, 0, 0]);
  }
  return matrix;
}

const numberOf = (node: SvgNode, name: string) => parseFloat(node.getAttribute(name) ?? "") || 0;

function fontSizeOf(node: SvgNode): number {
  const size = node.closest("[style*='font-size']")?.style?.fontSize ?? "";
  return parseFloat(size) || DEFAULT_FONT;
}

/** The box of a text element in its own coordinates. */
function localTextBox(text: SvgNode): Box {
  const size = fontSizeOf(text);
  const spans = [...text.querySelectorAll("tspan.line")];
  const lines = (spans.length > 0 ? spans : [text]).map((line) => line.textContent ?? "");
  const width = Math.max(...lines.map((line) => textWidth(line, size)));
  const anchor = text.getAttribute("text-anchor") ?? text.style?.textAnchor ?? "start";
  const shift = anchor === "middle" ? width / 2 : anchor === "end" ? width : 0;
  const height = lines.length * size * LINE_HEIGHT;
  return {
    x: numberOf(text, "x") - shift,
    y: numberOf(text, "y") - ASCENT * size,
    width,
    height: width > 0 ? height : 0,
  };
}

/** The map from a node's own coordinates to those of `top`, or of the screen where it is absent. */
function matrixTo(node: SvgNode, top: SvgNode | undefined): Matrix {
  let matrix = IDENTITY;
  for (let at: SvgNode | null = node; at && at !== top; at = at.parentElement) {
    matrix = multiply(parseTransform(at.getAttribute("transform") ?? ""), matrix);
  }
  return matrix;
}

function transformed({ x, y, width, height }: Box, [a, b, c, d, e, f]: Matrix): Box {
  const corners = [[x, y], [x + width, y], [x, y + height], [x + width, y + height]] as const;
  const xs = corners.map(([u, v]) => a * u + c * v + e);
  const ys = corners.map(([u, v]) => b * u + d * v + f);
  const [left, top] = [Math.min(...xs), Math.min(...ys)];
  return { x: left, y: top, width: Math.max(...xs) - left, height: Math.max(...ys) - top };
}

function union(boxes: readonly Box[]): Box {
  const drawn = boxes.filter(({ width }) => width > 0);
  if (drawn.length === 0) return { x: 0, y: 0, width: 0, height: 0 };
  const x = Math.min(...drawn.map((box) => box.x));
  const y = Math.min(...drawn.map((box) => box.y));
  return {
    x,
    y,
    width: Math.max(...drawn.map((box) => box.x + box.width)) - x,
    height: Math.max(...drawn.map((box) => box.y + box.height)) - y,
  };
}

const textsOf = (node: SvgNode): readonly SvgNode[] =>
  node.tagName.toLowerCase() === "text" ? [node] : [...node.querySelectorAll("text")];

/** What `getBBox` answers: the texts within a node, in the node's own coordinates. */
export function localBox(node: SvgNode): Box {
  return union(textsOf(node).map((text) => transformed(localTextBox(text), matrixTo(text, node))));
}

/** What `getBoundingClientRect` answers: the texts within a node, as they lie on the screen. */
export function screenBox(node: SvgNode): Box {
  return union(
    textsOf(node).map((text) => transformed(localTextBox(text), matrixTo(text, undefined))),
  );
}
