/** What the page uses of marked. */
export class Marked {
  constructor(options: { gfm?: boolean; renderer?: object });
  setOptions(options: { tokenizer: Tokenizer }): this;
  lexer(source: string): { type: string; raw: string }[];
  parser(tokens: { type: string; raw: string }[]): string;
}

/** Reads one token of a kind at the start of the source; without a token the other kinds are tried, text at last. */
export class Tokenizer {
  blockquote(source: string): object | undefined;
  list(source: string): object | undefined;
}
