//! A GGUF model that is cut into files, as llama.cpp's `gguf-split` does: `NAME-00001-of-00003.gguf` and so on. The first one has
//! the metadata, each a table of its own tensors.

use super::gguf::Metadata;
use crate::error::{Error, Result};

/// What a file's metadata says of the parts that it is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    /// Its place among them, from 0.
    number: u32,
    count: u32,
    /// Tensors in all of them.
    pub tensors: Option<u32>,
}

impl Split {
    /// None for a file that is a whole model.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let count = metadata.u32("split.count").filter(|count| *count > 1)?;
        let number = metadata.u32("split.no").unwrap_or(0);
        Some(Self { number, count, tensors: metadata.u32("split.tensors.count") })
    }

    /// The names of the parts after the first, whose name is `first`.
    pub fn rest(self, first: &str) -> Result<Vec<String>> {
        if self.number > 0 {
            let wanted = part(first, 1).unwrap_or_else(|| "the first".to_owned());
            let detail = format!("{first} is part {} of {}; open {wanted}", self.number + 1, self.count);
            return Err(Error::NotAModel { detail });
        }
        let names: Option<Vec<String>> = (2..=self.count).map(|number| part(first, number)).collect();
        let named = names.filter(|_| parts(first).is_some_and(|(_, _, count)| count == self.count));
        named.ok_or_else(|| {
            let detail = format!(
                "{first} is one of {} files; its name must end in -00001-of-{:05}.gguf",
                self.count, self.count
            );
            Error::NotAModel { detail }
        })
    }

    /// Checks that `other`, the metadata of the part after `number` others, belongs to it.
    pub fn check(self, name: &str, number: usize, other: &Metadata) -> Result<()> {
        match Self::of(other) {
            Some(other) if other.count == self.count && other.number as usize == number => Ok(()),
            _ => Err(Error::BadHeader { detail: format!("{name} is not part {} of {}", number + 1, self.count) }),
        }
    }
}

/// The name of another part of the same model; none where a file is not named like a part.
pub fn part(name: &str, number: u32) -> Option<String> {
    let (stem, _, count) = parts(name)?;
    (number <= count).then(|| format!("{stem}-{number:05}-of-{count:05}.gguf"))
}

/// Whether two files are parts of the same model, as far as their names tell.
pub fn are_parts(one: &str, other: &str) -> bool {
    matches!((parts(one), parts(other)), (Some((a, _, n)), Some((b, _, m))) if a == b && n == m)
}

/// Stem, number and count in a part's name.
fn parts(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let digits = |text: &str| if text.len() == 5 { text.parse::<u32>().ok() } else { None };
    let (number, count) = (digits(number)?, digits(count)?);
    (number >= 1 && number <= count).then_some((stem, number, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        assert_eq!(part("a-00001-of-00012.gguf", 12).as_deref(), Some("a-00012-of-00012.gguf"));
        for name in
            ["a.gguf", "a-00001-of-00012.bin", "a-1-of-12.gguf", "a-00013-of-00012.gguf", "a-00000-of-00012.gguf"]
        {
            assert_eq!(part(name, 1), None, "{name}");
        }
        assert!(are_parts("a-00001-of-00002.gguf", "a-00002-of-00002.gguf"));
        assert!(!are_parts("a-00001-of-00002.gguf", "b-00002-of-00002.gguf") && !are_parts("a.gguf", "a.gguf"));
    }
}
