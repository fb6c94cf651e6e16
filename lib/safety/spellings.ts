/**
 * The spellings that a Bengali word of a pattern accepts: which sounds may stand for each of its
 * own, so that misspelt and romanised forms are found too.
 *
 * @module
 */
import { bengaliPhones, type Phone } from "./phones.ts";

/** What may stand for one sound in a text's key. */
export interface Piece {
  /** Keys, any of which will do. */
  readonly options: readonly string[];
  readonly optional: boolean;
}

const piece = (...options: string[]): Piece => ({ options, optional: false });
const maybe = (...options: string[]): Piece => ({ options, optional: true });

/** What a Bengali word of a pattern accepts, sound by sound. */
export function bengaliPieces(word: string): Piece[] {
  const phones = bengaliPhones([...word.normalize("NFKD")]);
  return phones.flatMap((phone, at) => {
    const next = phones[at + 1];
    const last = !phones.slice(at + 1).some((later) => later.key !== "");
    switch (phone.kind) {
      case "silent":
        return silentPiece(phone, next);
      case "vowel":
      case "sign":
        return vowelPiece(phone, phones[at - 1], last);
      case "consonant": {
        const accepted = phone.key === "" ? [] : consonantPiece(phone, phones[at - 1], last);
        const open = next === undefined || (next.kind !== "sign" && !next.joined);
        return open ? [...accepted, last ? maybe("o", "u") : maybe("o")] : accepted;
      }
    }
  });
}

function silentPiece(phone: Phone, next: Phone | undefined): Piece[] {
  if (phone.letters === "ঁ") return [maybe("n")];
  if (phone.letters === "ঃ") return [maybe("h", "k")];
  if (phone.letters === "য") return [next?.key === "a" ? maybe("y", "i", "e") : maybe("y", "i")];
  return [];
}

function vowelPiece(phone: Phone, before: Phone | undefined, last: boolean): Piece[] {
  const afterYa = before?.letters === "য" && before.kind === "silent";
  switch (phone.key) {
    case "a":
      return afterYa ? [maybe("a", "e")] : [piece("a")];
    case "i":
      return [
        phone.kind === "vowel" && before !== undefined && before.kind !== "consonant"
          ? piece("i", "y", "e")
          : piece("i"),
      ];
    case "u":
      return [last ? piece("u") : piece("u", "o")];
    case "e":
      return [last ? piece("e", "ey") : piece("e", "i")];
    case "o":
      return phone.letters === "অ"
        ? [before === undefined ? piece("o", "a") : maybe("o")]
        : [last ? maybe("o", "u") : piece("o", "u")];
    default:
      return [piece(phone.key)];
  }
}

function consonantPiece(phone: Phone, before: Phone | undefined, last: boolean): Piece[] {
  if (phone.joined && before !== undefined) {
    if (phone.letters === "ব") return [maybe("b", "o")];
    if (phone.letters === "ম" && /[tdsks]/i.test(before.key)) return [maybe("m", "n")];
  }
  switch (phone.key) {
    case "c":
      return [phone.letters === "ছ" ? piece("c", "s") : piece("c")];
    case "y":
      return [last ? piece("y", "i", "e") : maybe("y", "i", "e", "o")];
    case "N":
      return [piece("N", "Ng", "n")];
    case "F":
      return [piece("F")];
    case "g":
      return phone.letters === "ঞ" ? [piece("g", "gy", "jn")] : [piece("g")];
    default:
      return [
        /[A-Z]/.test(phone.key) ? piece(phone.key, phone.key.toLowerCase()) : piece(phone.key),
      ];
  }
}
