/** What the page uses of DOMPurify. */
export interface Purifier {
  addHook(event: "afterSanitizeAttributes", hook: (node: Element) => void): void;
  sanitize(html: string, options: { RETURN_DOM_FRAGMENT: true } & Record<string, unknown>): DocumentFragment;
}
export default function createPurifier(window: Window): Purifier;
