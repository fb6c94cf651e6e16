import { assertEquals } from "@std/assert";
import { ABI_VERSION } from "@lib/engine/library.ts";
import { STATUS_NAMES } from "@lib/engine/status.ts";
import { STRUCT_SIZES } from "@lib/engine/structs.ts";
import { SYMBOLS } from "@lib/engine/symbols.ts";

const HEADER = Deno.readTextFileSync(new URL("../../native/include/qlora.h", import.meta.url))
  .replace(/\/\*[\s\S]*?\*\//g, "");

interface CFunction {
  readonly result: string;
  readonly parameters: string[];
}

/** Every `QLORA_API` declaration of the header: name → C types. */
function declarations(): Map<string, CFunction> {
  const found = new Map<string, CFunction>();
  for (const match of HEADER.matchAll(/QLORA_API\s+([\w\s*]+?)\s*\b(qlora_\w+)\(([^)]*)\)/g)) {
    const [, result = "", name = "", list = ""] = match;
    const parameters = list.trim() === "void" ? [] : list.split(",").map((p) => p.trim());
    found.set(name, { result: result.trim(), parameters });
  }
  return found;
}

/** The FFI types that may stand for a C parameter. */
function allowed(parameter: string): string[] {
  if (/^(const )?qlora_(model|trainer|generator)\s*\*\s*\w+$/.test(parameter)) return ["pointer"];
  if (parameter.includes("*")) return ["buffer"];
  const type = parameter.replace(/\s*\w+$/, "");
  const scalars: Record<string, string> = {
    int32_t: "i32",
    int64_t: "i64",
    uint64_t: "u64",
    float: "f32",
    double: "f64",
  };
  return [scalars[type] ?? `unknown C type in '${parameter}'`];
}

Deno.test("the symbol table has exactly the header's functions", () => {
  assertEquals(Object.keys(SYMBOLS).toSorted(), [...declarations().keys()].toSorted());
});

Deno.test("every symbol has the header's parameters and result", () => {
  for (const [name, { result, parameters }] of declarations()) {
    const symbol = SYMBOLS[name as keyof typeof SYMBOLS];
    assertEquals(symbol.parameters.length, parameters.length, name);
    symbol.parameters.forEach((type, i) => {
      const c = parameters[i] ?? "";
      assertEquals(allowed(c).includes(type), true, `${name}: ${c} is bound as ${type}`);
    });
    const results: Record<string, string> = {
      "qlora_status": "i32",
      "int32_t": "i32",
      "void": "void",
      "const char*": "pointer",
    };
    assertEquals(symbol.result, results[result], `${name} returns ${result}`);
  }
});

Deno.test("every struct has the header's fields in the header's order", () => {
  for (const struct of Object.values(STRUCT_SIZES)) {
    const body = new RegExp(`typedef struct ${struct.name} \\{([^}]*)\\}`).exec(HEADER)?.[1] ?? "";
    const fields = body.split(";").map((f) => f.trim()).filter((f) => f !== "").map((field) => {
      const [, type = "", star = "", name = ""] =
        /^(?:const )?(\w+)\s*(\*?)\s*(\w+)$/.exec(field) ??
          [];
      const types: Record<string, string> = {
        int32_t: "i32",
        int64_t: "i64",
        uint64_t: "u64",
        float: "f32",
        double: "f64",
      };
      return [name, star === "*" ? "ptr" : types[type] ?? type];
    });
    assertEquals(Object.entries(struct.fields), fields, struct.name);
  }
});

Deno.test("ABI version and statuses are the header's", () => {
  assertEquals(/#define QLORA_ABI_VERSION (\d+)/.exec(HEADER)?.[1], String(ABI_VERSION));
  const body = /typedef enum qlora_status \{([^}]*)\}/.exec(HEADER)?.[1] ?? "";
  const names = [...body.matchAll(/QLORA_(?:ERROR_)?(\w+) = (\d+)/g)];
  assertEquals(names.map(([, name]) => name?.toLowerCase()), [...STATUS_NAMES]);
  assertEquals(names.map(([, , value]) => Number(value)), STATUS_NAMES.map((_, i) => i));
});
