// Search, folding and theme. Without it the page has all the same content.
(() => {
  const THEMES = ['system', 'light', 'dark'];
  const theme = document.querySelector('.theme');
  theme.hidden = false;
  theme.addEventListener('click', () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? 'system') + 1) % THEMES.length];
    document.documentElement.dataset.theme = next;
    theme.textContent = `Theme: ${next}`;
  });

  // A link to a boot or a line unfolds what it is in.
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target === null) return;
    if (target.matches('.boot')) target.querySelector('details').open = true;
    for (let at = target.closest('details'); at; at = at.parentElement.closest('details')) at.open = true;
    target.scrollIntoView({ block: target.matches('.boot') ? 'start' : 'center' });
  };
  addEventListener('hashchange', unfold);

  for (const console of document.querySelectorAll('.console')) {
    const lines = console.querySelector('.lines');
    if (lines === null) continue;
    const form = console.querySelector('.search');
    const input = form.querySelector('input');
    const output = form.querySelector('output');
    const fold = form.querySelector('.fold');
    const sections = [...lines.querySelectorAll('details')];
    let hits = [];
    let at = -1;
    form.hidden = false;

    const go = (to) => {
      hits[at]?.classList.remove('current');
      at = hits.length === 0 ? -1 : (to + hits.length) % hits.length;
      const hit = hits[at];
      output.value = input.value === '' ? '' : hit === undefined ? 'no match' : `${at + 1} of ${hits.length}`;
      if (hit === undefined) return;
      hit.closest('details').open = true;
      hit.classList.add('current');
      // Only the console scrolls.
      lines.scrollTop += hit.getBoundingClientRect().top - lines.getBoundingClientRect().top - lines.clientHeight / 2;
    };
    input.addEventListener('input', () => {
      const wanted = input.value.toLowerCase();
      for (const hit of hits) hit.classList.remove('hit', 'current');
      hits =
        wanted === ''
          ? []
          : [...lines.querySelectorAll('p[id]')].filter((line) =>
              line.children[1].textContent.toLowerCase().includes(wanted),
            );
      for (const hit of hits) hit.classList.add('hit');
      go(0);
    });
    input.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter') return;
      event.preventDefault();
      go(at + (event.shiftKey ? -1 : 1));
    });
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      go(at + 1);
    });
    fold.addEventListener('click', () => {
      const opens = sections.some((section) => !section.open);
      for (const section of sections) section.open = opens;
    });
    const label = () => {
      const opens = sections.some((section) => !section.open);
      fold.textContent = opens ? 'Unfold all' : 'Fold all';
    };
    for (const section of sections) section.addEventListener('toggle', label);
    label();

    const decisive = lines.querySelector('.decisive');
    if (decisive !== null) lines.scrollTop = decisive.offsetTop - lines.clientHeight / 2;
  }
  unfold();
})();
