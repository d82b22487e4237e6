// Eight nibbles of a word as numbers, in order. Joined after masked.wgsl.

// Nibble n comes out 16^n times too large.
const PLACES: mat2x4f = mat2x4f(
    1.0, 0.0625, 0.00390625, 0.000244140625,
    0.0000152587890625, 9.5367431640625e-7, 5.9604644775390625e-8, 3.725290298461914e-9,
);

fn nibbles8(word: u32) -> mat2x4f {
    return mat2x4f(
        masked(word, vec4u(0xfu, 0xf0u, 0xf00u, 0xf000u)),
        masked(word, vec4u(0xf0000u, 0xf00000u, 0xf000000u, 0xf0000000u)),
    );
}
