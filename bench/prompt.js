// What every engine reads: a text in the tokens of the default model's vocabulary, again and again until there are enough of
// them. Engines that take token ids get those, so that no tokenizer is part of the comparison; the others get the same text.
//
// What comes next in a text that was read before is plain to any model that works, so that what engines write tells at a
// glance which do not.

const PIECES = (
  " The| lighthouse| keeper| wrote| in| her| book| every| evening|:| which| way| the| wind| blew|,| how| far| one| could|" +
  " see|,| and| what| ships| had| passed|.| On| some| nights| there| was| nothing| to| tell| but| rain|.| On| others| a|" +
  " whole| fleet| of| fishing| boats| went| by|,| lamp| after| lamp|,| and| she| counted| them| twice| to| be| sure|.|" +
  " Nobody| ever| asked| to| read| what| she| had| written|.| When| a| young| man| came| from| the| harbour| office| to|" +
  " fetch| the| old| volumes|,| he| found| thirty| years| of| weather| in| small|,| even| letters|,| with| a| sketch| of|" +
  " a| bird| here| and| there|.| He| sat| down| on| the| stairs| and| read| until| the| light| was| lit| again|.| Then|" +
  " he| carried| the| books| up| once| more| and| put| them| back| on| their| shelf|,| because|,| as| he| said| later|,|" +
  " a| thing| like| that| belongs| where| it| was| made|."
).split("|");
const IDS = [
  378, 33059, 40061, 4150, 281, 874, 1863, 897, 9053, 42, 527, 970, 260, 2251, 32117, 28, 638, 1869, 582, 856, 963, 28, 284,
  732, 7761, 761, 4180, 30, 1985, 634, 16573, 665, 436, 3878, 288, 2505, 564, 5249, 30, 1985, 1449, 253, 2444, 14954, 282,
  8725, 13768, 3514, 411, 28, 17559, 990, 17559, 28, 284, 1041, 17288, 601, 6757, 288, 325, 2090, 30, 32304, 2042, 3413, 288,
  1012, 732, 1041, 761, 2855, 30, 1550, 253, 1805, 555, 2422, 429, 260, 28899, 4608, 288, 22957, 260, 1573, 11964, 28, 384,
  983, 11591, 929, 282, 3947, 281, 1165, 28, 908, 5073, 28, 351, 253, 17095, 282, 253, 5615, 1535, 284, 665, 30, 909, 2643,
  1187, 335, 260, 24224, 284, 1012, 1793, 260, 1420, 436, 1150, 1163, 30, 3875, 384, 4891, 260, 2905, 614, 2268, 540, 284,
  1830, 601, 1056, 335, 480, 15714, 28, 975, 28, 347, 384, 1137, 1916, 28, 253, 2775, 702, 338, 12698, 837, 357, 436, 1135,
  30,
];
/** Coprime with the text's length: each turn begins elsewhere. */
const STEP = 37;

/** @typedef {{ids: number[], text: string}} Prompt */

/**
 * @param {number} size in tokens
 * @param {number} turn prompts of different turns have no beginning in common
 * @returns {Prompt}
 */
export function prompt(size, turn) {
  const at = Array.from({ length: size }, (_, index) => ((turn + 1) * STEP + index) % IDS.length);
  return { ids: at.map((index) => IDS[index] ?? 0), text: at.map((index) => PIECES[index]).join("") };
}
