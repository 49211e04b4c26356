/** Files whose default export is a specification. */
export const MODULE_EXTENSIONS: readonly string[] = ['.ts', '.mts', '.js', '.mjs'];

/** Files that are specifications by their name; `build` reads what has another name as YAML. */
export const SPECIFICATION_EXTENSIONS: readonly string[] = ['.json', '.yaml', '.yml', ...MODULE_EXTENSIONS];
