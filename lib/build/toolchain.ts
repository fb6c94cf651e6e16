/** Finding a C++ compiler and CMake, and saying how to get them. */

/** A compiler or build tool found on this machine. */
export interface Tool {
  readonly command: string;
  /** First line of `--version`. */
  readonly version: string;
}

/** No usable C++ compiler. */
export class ToolchainError extends Error {
  override readonly name = "ToolchainError";
}

/** Runs `command --version`; null when there is no such program. */
export async function findTool(command: string): Promise<Tool | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, {
      args: ["--version"],
      stdout: "piped",
      stderr: "null",
    }).output();
    if (!success) return null;
    return { command, version: new TextDecoder().decode(stdout).split("\n")[0]?.trim() ?? "" };
  } catch {
    return null;
  }
}

/** The C++ compiler: `$CXX`, else the first of c++, g++, clang++. */
export async function findCompiler(): Promise<Tool | null> {
  const asked = Deno.env.get("CXX");
  const candidates = asked === undefined || asked === "" ? ["c++", "g++", "clang++"] : [asked];
  for (const candidate of candidates) {
    const tool = await findTool(candidate);
    if (tool !== null) return tool;
  }
  return null;
}

/** The CUDA compiler: `$CUDACXX`, else nvcc on the PATH or where the toolkit installs it, or null. */
export async function findNvcc(): Promise<Tool | null> {
  const asked = Deno.env.get("CUDACXX");
  const toolkit = Deno.env.get("CUDA_PATH") ?? "/usr/local/cuda";
  const candidates = asked === undefined || asked === ""
    ? ["nvcc", `${toolkit}/bin/nvcc`]
    : [asked];
  for (const candidate of candidates) {
    const tool = await findTool(candidate);
    if (tool !== null) return { ...tool, version: await nvccVersion(candidate) };
  }
  return null;
}

/** "release 13.0, V13.0.88": nvcc's first line names no version. */
async function nvccVersion(command: string): Promise<string> {
  const { stdout } = await new Deno.Command(command, { args: ["--version"], stderr: "null" })
    .output();
  const text = new TextDecoder().decode(stdout);
  return `nvcc ${/release [^\n]+/.exec(text)?.[0] ?? "of an unknown release"}`;
}

/** CMake with a program that runs its builds, or null. */
export async function findCMake(): Promise<{ cmake: Tool; generator: string } | null> {
  const cmake = await findTool("cmake");
  if (cmake === null) return null;
  if (await findTool("ninja") !== null) return { cmake, generator: "Ninja" };
  if (Deno.build.os === "windows") return { cmake, generator: "" };
  return await findTool("make") === null ? null : { cmake, generator: "Unix Makefiles" };
}

/**
 * The one command that installs a C++ compiler here.
 *
 * @param os as `Deno.build.os`
 * @param has whether a program is on the PATH
 */
export async function installCommand(
  os: string = Deno.build.os,
  has: (command: string) => Promise<boolean> = async (c) => await findTool(c) !== null,
): Promise<string> {
  if (os === "darwin") return "xcode-select --install";
  if (os === "windows") {
    return "winget install Microsoft.VisualStudio.2022.BuildTools --override " +
      '"--add Microsoft.VisualStudio.Workload.VCTools --includeRecommended --passive"';
  }
  const managers = [
    ["apt-get", "sudo apt-get install -y g++"],
    ["dnf", "sudo dnf install -y gcc-c++"],
    ["pacman", "sudo pacman -S --needed gcc"],
    ["zypper", "sudo zypper install -y gcc-c++"],
    ["apk", "sudo apk add g++"],
  ] as const;
  for (const [manager, command] of managers) {
    if (await has(manager)) return command;
  }
  return "install g++ or clang++ with your system's package manager";
}

/** The message for a machine without a compiler. */
export async function missingCompiler(): Promise<ToolchainError> {
  return new ToolchainError(
    "Expected a C++17 compiler (c++, g++, clang++ or $CXX), found none. Install one with:\n" +
      `  ${await installCommand()}\nthen run this again.`,
  );
}
