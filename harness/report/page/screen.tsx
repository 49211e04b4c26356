import { type CroppedScreen, cropScreen } from './crop-screen.ts';

/** A picture of the machine's screen, as much of it as is not empty. */
export function Screen({ picture, label }: { readonly picture: string; readonly label: string }) {
  const cropped = crop(picture);
  if (cropped === undefined) return <p class="quiet">The screen was empty.</p>;
  if (cropped === 'unreadable') return <p class="quiet">The picture of the screen cannot be read.</p>;
  const { png, width, height } = cropped;
  return <img alt={`screen of ${label}`} width={width} height={height} src={`data:image/png;base64,${png}`} />;
}

/** A report that was written by somebody else may have anything in the place of a picture. */
function crop(picture: string): CroppedScreen | 'unreadable' | undefined {
  try {
    return cropScreen(picture);
  } catch {
    return 'unreadable';
  }
}
