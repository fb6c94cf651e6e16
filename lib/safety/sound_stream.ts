/**
 * The sounds of a match key without its spaces, with the places where its tokens begin.
 *
 * @module
 */

/** Sounds from which on a token must be several words: শ্বশুরবাড়িতেই has 11. */
const LEAST_JOINED_TOKEN = 13;

/** Longest stretch that one token may have; longer ones are parted, so that no text is slow. */
const LONGEST_TOKEN = 64;

/** Whether the tokens on both sides are of two sounds at most: "ম, র, তে, চা, ই". */
function isAmongLetters(key: string, at: number): boolean {
  return /(?:^| )[^ ]{1,2} $/.test(key.slice(Math.max(0, at - 4), at)) &&
    /^, [^ ]{1,2}(?: |$)/.test(key.slice(at, at + 6));
}

/** A key as the matcher reads it: strict keeps to its tokens, loose reads over their boundaries. */
export class SoundStream {
  readonly chars: string;
  /** Index in the key of every sound. */
  readonly #places: readonly number[];
  /** For each index, the beginning of the next token after it; for a beginning itself, see isStart. */
  readonly #starts: Uint8Array;
  /** For each index, whether it stands in a token that must be several words written as one. */
  readonly #joined: Uint8Array;
  readonly loose: boolean;

  constructor(key: string, loose: boolean) {
    const places: number[] = [];
    const starts: number[] = [];
    let chars = "";
    let length = 0;
    for (let at = 0; at < key.length; at++) {
      const char = key.charAt(at);
      if (char === " ") {
        length = 0;
        continue;
      }
      if (loose && char === "," && isAmongLetters(key, at)) continue;
      if (length === 0 || length % LONGEST_TOKEN === 0) starts.push(places.length);
      places.push(at);
      chars += char;
      length++;
    }
    this.chars = chars;
    this.#places = places;
    this.#starts = new Uint8Array(places.length + 1);
    for (const start of starts) this.#starts[start] = 1;
    this.#starts[places.length] = 1;
    this.#joined = new Uint8Array(places.length + 1);
    this.loose = loose;
    if (loose) this.#openJoined(starts);
  }

  /** In tokens longer than words are, words may begin and end anywhere. */
  #openJoined(starts: readonly number[]): void {
    starts.forEach((start, at) => {
      const end = starts[at + 1] ?? this.chars.length;
      if (end - start < LEAST_JOINED_TOKEN) return;
      this.#joined.fill(1, start, end);
      this.#starts.fill(1, start, end);
    });
  }

  /** Whether this place is inside a token of joined words. */
  isJoined(at: number): boolean {
    return this.#joined[at] === 1;
  }

  /** Whether a token begins here; the end counts as a beginning. */
  isStart(at: number): boolean {
    return this.#starts[at] === 1;
  }

  /** The next beginning after this place. */
  nextStart(at: number): number {
    let next = at + 1;
    while (next < this.chars.length && this.#starts[next] !== 1) next++;
    return Math.min(next, this.chars.length);
  }

  /** Index in the key of the sound here. */
  place(at: number): number {
    return this.#places[at] ?? 0;
  }
}
