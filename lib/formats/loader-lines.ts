/** Lines of a name and a value, as systemd-boot reads them in loader.conf and in its entries.
 *  @see loader.conf(5); UAPI.1 Boot Loader Specification */
export function loaderLines(content: string): (readonly [name: string, value: string])[] {
  return content.split(/\r?\n/).flatMap((line) => {
    const [, name = '', value = ''] = /^\s*([^\s#]\S*)\s+(.*?)\s*$/.exec(line) ?? [];
    return name === '' ? [] : [[name, value.replace(/^"(.*)"$/, '$1')] as const];
  });
}
