/** What the page uses of marked. */
export class Marked {
  constructor(options: { gfm?: boolean; renderer?: object });
  lexer(source: string): { type: string; raw: string }[];
  parser(tokens: { type: string; raw: string }[]): string;
}
