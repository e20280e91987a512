// The centre's script: small behaviours on pages that the server renders. All pages work without it, but for copying by
// a click and for htmx. No inline handlers, no eval, no styles set from script.

const $ = (query, root = document) => root.querySelector(query);
const $$ = (query, root = document) => [...root.querySelectorAll(query)];

// Let a screen reader say a sentence once.
export function say(text) {
  const place = $('#say');
  place.textContent = '';
  requestAnimationFrame(() => { place.textContent = text; });
}

// Every request of htmx carries the session's token (htmx 4 does not inherit hx-headers).
document.addEventListener('htmx:config:request', (event) => {
  const token = $('meta[name=csrf]')?.content;
  if (token) event.detail.ctx.request.headers['X-CSRF'] = token;
});

// Dialogs, menus, copying.
for (const button of $$('[data-copy]')) button.hidden = !navigator.clipboard;
document.addEventListener('click', (event) => {
  const open = event.target.closest('[data-open]');
  if (open) { event.preventDefault(); document.getElementById(open.dataset.open)?.showModal(); }
  const close = event.target.closest('[data-close]');
  if (close) (close.closest('dialog')?.close(), close.closest('.toast')?.remove());
  const copy = event.target.closest('[data-copy]');
  if (copy) navigator.clipboard.writeText($('code', copy.parentElement).textContent.trim()).then(() => { copy.lastChild.textContent = 'Copied'; say('Copied'); });
  for (const menu of $$('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  for (const menu of $$('details.menu[open]')) { menu.open = false; $('summary', menu).focus(); }
});

// A form is sent once, however often its button is clicked.
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.method !== 'post') return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = 'yes';
});
addEventListener('pageshow', () => { for (const form of $$('form[data-sent]')) delete form.dataset.sent; });
