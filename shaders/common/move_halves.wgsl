// The magnitude of the f16 in a word's higher bits, moved to a float's places: what is left is the distance between the exponents'
// biases. To the right by way of a float whose mantissa holds an integer, then to the left by multiplying, for vectors are shifted
// lane by lane on processors. Joined with unpack_halves_moved.wgsl and kv_f16.wgsl.
fn higher_moved(word: u32) -> u32 {
    return bitcast<u32>(f32(i32(word & 0x7fff0000u)) * 0.0000152587890625 + 8388608.0) * 8192u;
}
