//! The shaders' text, without what only its readers need: comments and indentation would be a hundredth of the app's download.

/// The text of a file in `shaders/`, stripped while the crate is compiled. Lines keep their numbers.
macro_rules! wgsl {
    ($file:literal) => {{
        const TEXT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $file));
        const BYTES: [u8; $crate::wgsl::stripped_len(TEXT)] = $crate::wgsl::strip(TEXT);
        const STRIPPED: &str = $crate::wgsl::text(&BYTES);
        STRIPPED
    }};
}

/// Goes through a text and says of each byte whether it stays.
struct Stripper {
    in_comment: bool,
    at_start: bool,
}

impl Stripper {
    const fn new() -> Self {
        Self { in_comment: false, at_start: true }
    }

    const fn keeps(&mut self, text: &[u8], at: usize) -> bool {
        match text[at] {
            b'\n' => {
                *self = Self::new();
                true
            }
            b'/' if at + 1 < text.len() && text[at + 1] == b'/' => {
                self.in_comment = true;
                false
            }
            b' ' if self.at_start => false,
            _ => {
                self.at_start = false;
                !self.in_comment
            }
        }
    }
}

/// Bytes of a text without comments and indentation.
pub(crate) const fn stripped_len(text: &str) -> usize {
    let text = text.as_bytes();
    let mut stripper = Stripper::new();
    let (mut at, mut len) = (0, 0);
    while at < text.len() {
        if stripper.keeps(text, at) {
            len += 1;
        }
        at += 1;
    }
    len
}

/// A text without comments and indentation; `N` is its `stripped_len`.
pub(crate) const fn strip<const N: usize>(text: &str) -> [u8; N] {
    let text = text.as_bytes();
    let mut stripped = [0; N];
    let mut stripper = Stripper::new();
    let (mut at, mut len) = (0, 0);
    while at < text.len() {
        if stripper.keeps(text, at) {
            stripped[len] = text[at];
            len += 1;
        }
        at += 1;
    }
    stripped
}

/// Bytes of a text as a text again.
#[expect(clippy::panic, reason = "when the crate is compiled, if ever")]
pub(crate) const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a shader is not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_comments_and_indentation_are_left_out() {
        const TEXT: &str = "// A comment: a / b.\nfn f() {\n    return a / b; // é\n}";
        const BYTES: [u8; stripped_len(TEXT)] = strip(TEXT);
        assert_eq!(text(&BYTES), "\nfn f() {\nreturn a / b; \n}");
    }
}
