// @ts-check
/// <reference lib="dom" />
/**
 * Reads streamed text to screen readers: whole sentences, one answer after another.
 *
 * @module
 */

/** A sentence with its mark; a line counts as one. */
const SENTENCE = /^[\s\S]*?[।?!॥\n](?=\s|$)/u;

/** Speaks through a polite live region. */
export class Announcer {
  /** @param {HTMLElement} region an element with `aria-live="polite"` */
  constructor(region) {
    this.region = region;
    /** @type {Voice[]} */
    this.voices = [];
  }

  /**
   * A voice for one answer. Voices speak in the order in which they were asked for: what a later one
   * has to say waits until the earlier ones have ended.
   *
   * @param {string} name said before its first sentence
   */
  voice(name) {
    const voice = new Voice(name, () => this.flush());
    this.voices.push(voice);
    return voice;
  }

  /**
   * Says something at once, e.g. that a rating was saved.
   *
   * @param {string} message
   */
  say(message) {
    this.region.append(message, document.createElement("br"));
    while (this.region.childNodes.length > 60) this.region.firstChild?.remove();
  }

  flush() {
    for (;;) {
      const [voice] = this.voices;
      if (voice === undefined) return;
      for (const sentence of voice.take()) this.say(sentence);
      if (!voice.ended) return;
      this.voices.shift();
    }
  }
}

/** What one answer has to say. */
export class Voice {
  /**
   * @param {string} name
   * @param {() => void} onNews
   */
  constructor(name, onNews) {
    this.pending = "";
    this.ended = false;
    this.onNews = onNews;
    /** @type {string[]} */
    this.ready = [`${name}:`];
  }

  /** @param {string} text a new piece of the answer */
  push(text) {
    this.pending += text;
    for (;;) {
      const sentence = SENTENCE.exec(this.pending)?.[0];
      if (sentence === undefined) break;
      this.pending = this.pending.slice(sentence.length);
      if (sentence.trim() !== "") this.ready.push(sentence.trim());
    }
    this.onNews();
  }

  /** @param {string} remark said last */
  end(remark) {
    if (this.pending.trim() !== "") this.ready.push(this.pending.trim());
    this.ready.push(remark);
    this.pending = "";
    this.ended = true;
    this.onNews();
  }

  take() {
    return this.ready.splice(0);
  }
}
