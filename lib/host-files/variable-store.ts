import { readFile, writeFile } from 'node:fs/promises';
import { addVariables, type EfiVariable, readVariables } from '../formats/efi-variables.ts';
import { UnexpectedStateError } from '../run/errors.ts';
import { replaceFile } from './private-output.ts';

/** Files with EFI variables, as firmware packages provide them. */

export interface VariableStore {
  readonly file: string;
  readonly bytes: Buffer;
  readonly variables: readonly EfiVariable[];
}

/** @throws {UnexpectedStateError} when the file is not a store of EFI variables. */
export async function readVariableStore(step: string, file: string): Promise<VariableStore> {
  const bytes = await readFile(file);
  const variables = readVariables(bytes);
  if (variables === undefined)
    throw new UnexpectedStateError(step, `${file} is not a store of EFI variables`, {
      expected: 'a firmware volume with a store of authenticated variables, such as OVMF_VARS.fd',
    });
  return { file, bytes, variables };
}

/** Writes a copy of a store that has more variables; an existing file is replaced by the finished one.
 *  @throws {UnexpectedStateError} when they do not fit. */
export async function writeVariableStore(
  step: string,
  { file, bytes }: VariableStore,
  added: readonly EfiVariable[],
  target: string,
): Promise<void> {
  const written = addVariables(bytes, added);
  if (written === undefined)
    throw new UnexpectedStateError(step, `${added.length} more variables do not fit into ${file}`, {
      expected: 'a store with more space',
    });
  await replaceFile(target, (partial) => writeFile(partial, written));
}
