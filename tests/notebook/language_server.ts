/** Deno's language server, spoken to as an editor does that shows a notebook. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";
import {
  createMessageConnection,
  type MessageConnection,
  StreamMessageReader,
  StreamMessageWriter,
} from "vscode-jsonrpc/node";
import { z } from "zod";
import type { Notebook } from "@lib/notebook/notebook_file.ts";

/** Severities of the protocol up to which a diagnostic is an error or a warning. */
const WARNING = 2;

const report = z.object({
  items: z.array(z.object({
    severity: z.int().default(1),
    code: z.union([z.string(), z.number()]).optional(),
    message: z.string(),
  })),
});
const configurationParams = z.object({
  items: z.array(z.object({ section: z.string().optional() })),
});

/** What an editor underlines in a cell. */
export interface EditorProblem {
  /** Id of the cell. */
  readonly cell: string;
  readonly message: string;
}

/** A running `deno lsp` for one folder. */
export class LanguageServer implements AsyncDisposable {
  readonly #connection: MessageConnection;
  readonly #end: () => Promise<void>;

  private constructor(connection: MessageConnection, end: () => Promise<void>) {
    this.#connection = connection;
    this.#end = end;
  }

  /**
   * @param root the folder that the editor has opened
   * @param settings the editor's settings for Deno, without their prefix
   */
  static async start(
    root: string,
    settings: Readonly<Record<string, unknown>>,
  ): Promise<LanguageServer> {
    const child = spawn(Deno.execPath(), ["lsp", "--quiet"], { cwd: root });
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    const said = text(child.stderr); // read, so that a full pipe never stops the server
    const connection = createMessageConnection(
      new StreamMessageReader(child.stdout),
      new StreamMessageWriter(child.stdin),
    );
    connection.onRequest(
      "workspace/configuration",
      (params: unknown) =>
        configurationParams.parse(params).items.map(({ section }) =>
          section === "deno" ? settings : null
        ),
    );
    connection.onRequest("client/registerCapability", () => null);
    connection.listen();
    const uri = pathToFileURL(root).href;
    await connection.sendRequest("initialize", {
      processId: Deno.pid,
      rootUri: uri,
      workspaceFolders: [{ uri, name: "project" }],
      capabilities: {
        workspace: { configuration: true, workspaceFolders: true },
        textDocument: { diagnostic: {} },
        notebookDocument: { synchronization: {} },
      },
      initializationOptions: settings,
    });
    await connection.sendNotification("initialized", {});
    return new LanguageServer(connection, async () => {
      await connection.sendRequest("shutdown");
      await connection.sendNotification("exit");
      await ended;
      connection.dispose();
      await said;
    });
  }

  /** Opens a notebook, asks for the problems of each code cell, and closes it. */
  async problems(path: string, { cells }: Notebook): Promise<readonly EditorProblem[]> {
    const document = (at: number) => `vscode-notebook-cell:${path}#${at}`;
    const notebook = pathToFileURL(path).href;
    await this.#connection.sendNotification("notebookDocument/didOpen", {
      notebookDocument: {
        uri: notebook,
        notebookType: "jupyter-notebook",
        version: 1,
        cells: cells.map(({ cell_type }, at) => ({
          kind: cell_type === "code" ? 2 : 1,
          document: document(at),
        })),
      },
      cellTextDocuments: cells.map(({ cell_type, source }, at) => ({
        uri: document(at),
        languageId: cell_type === "code" ? "typescript" : "markdown",
        version: 1,
        text: source,
      })),
    });
    const found: EditorProblem[] = [];
    for (const [at, { cell_type, id = `${at}` }] of cells.entries()) {
      if (cell_type !== "code") continue;
      const textDocument = { uri: document(at) };
      const answer = await this.#connection.sendRequest("textDocument/diagnostic", {
        textDocument,
      });
      for (const { severity, code, message } of report.parse(answer).items) {
        if (severity <= WARNING) found.push({ cell: id, message: `${code}: ${message}` });
      }
    }
    await this.#connection.sendNotification("notebookDocument/didClose", {
      notebookDocument: { uri: notebook },
      cellTextDocuments: cells.map((_, at) => ({ uri: document(at) })),
    });
    return found;
  }

  /** Ends the server. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}
