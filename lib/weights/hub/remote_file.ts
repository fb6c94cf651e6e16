/** A model on the hub as its list of files tells it. */

/** A file of a repository. */
export interface RemoteFile {
  /** Inside the repository, with forward slashes. */
  readonly path: string;
  readonly bytes: number;
  /** `sha256` of the content for large files, the `git` blob hash for the others. */
  readonly hash: { readonly kind: "sha256" | "git"; readonly hex: string };
}

/** A model at one commit. */
export interface Repository {
  readonly name: string;
  readonly commit: string;
  readonly files: readonly RemoteFile[];
}
