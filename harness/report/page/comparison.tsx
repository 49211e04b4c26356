import type { BootComparison } from '../compare.ts';
import { seconds } from '../words.ts';

/** Two runs side by side. */
export function Comparison({ comparison }: { readonly comparison: BootComparison | undefined }) {
  if (comparison === undefined) return <p>The earlier run has no boot in this firmware.</p>;
  return (
    <table class="comparison">
      <thead>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col" class="number">
            Before
          </th>
          <th scope="col" class="number">
            Now
          </th>
          <th scope="col">Change</th>
        </tr>
      </thead>
      <tbody>
        {comparison.changes.map(({ what, beforeMs, nowMs, change }) => (
          <tr key={what} class={change}>
            <th scope="row">{what}</th>
            <td class="number">{cell(beforeMs)}</td>
            <td class="number">{cell(nowMs)}</td>
            <td>
              {change}
              {change !== undefined && ` by ${seconds(Math.abs((nowMs ?? 0) - (beforeMs ?? 0)))}`}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function cell(milliseconds: number | undefined): string {
  return milliseconds === undefined ? '–' : seconds(milliseconds);
}
