//! JavaScript and CSS without their comments, which are a sixth of the app's download. They stay in the repository.

/// Leaves out lines that hold nothing but a comment, or a part of one, unless it is a licence. Lines keep their numbers.
///
/// A comment behind code stays, for what looks like one may be within a string; and so does whatever stands in a template that goes
/// over several lines.
pub fn strip(text: &str) -> String {
    let mut in_template = false;
    let mut stripped = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        if in_template || !is_comment(line.trim()) {
            in_template ^= backticks(line) % 2 == 1;
            stripped.push_str(line);
            continue;
        }
        let mut comment = line.to_owned();
        while comment.trim_start().starts_with("/*") && !comment.contains("*/") {
            let Some(line) = lines.next() else { break };
            comment.push_str(line);
        }
        let code_behind = comment.trim_start().starts_with("/*") && !comment.trim_end().ends_with("*/");
        if code_behind || is_licence(&comment) {
            stripped.push_str(&comment);
        } else {
            stripped.extend(comment.chars().filter(|char| *char == '\n'));
        }
    }
    stripped
}

/// Whether a line is a comment from its start, and to its end where it ends there.
fn is_comment(line: &str) -> bool {
    let block = line.starts_with("/*") && line.find("*/").is_none_or(|end| end + 2 == line.len());
    line.starts_with("//") || block
}

fn is_licence(comment: &str) -> bool {
    let comment = comment.to_lowercase();
    ["license", "licence", "copyright"].iter().any(|word| comment.contains(word))
}

/// Backticks that begin or end a template.
fn backticks(code: &str) -> usize {
    let escaped = code.matches("\\`").count();
    code.matches('`').count() - escaped
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn only_whole_lines_of_comment_go() {
        let text = "// One.\n/** Two. @type {x} */\nconst a = 1; // Three.\n/**\n * Four.\n */\nf(/* five */ a);\n  /* six */ g();\n";
        assert_eq!(strip(text), "\n\nconst a = 1; // Three.\n\n\n\nf(/* five */ a);\n  /* six */ g();\n");
    }

    #[test]
    fn what_is_in_a_template_stays() {
        let text = "const t = `\n// not a comment\n`;\n// a comment\nconst u = `a` + '\\`';\n// another";
        assert_eq!(strip(text), "const t = `\n// not a comment\n`;\n\nconst u = `a` + '\\`';\n");
    }

    #[test]
    fn code_behind_a_comment_stays() {
        let text = "/*\n * One.\n */ code();\nmore();\n/* two */\n";
        assert_eq!(strip(text), "/*\n * One.\n */ code();\nmore();\n\n");
    }

    #[test]
    fn licences_stay() {
        let text = "/*! @license A */\ncode();\n/**\n * Copyright B\n */\n/*\n * Words.\n */\n";
        assert_eq!(strip(text), "/*! @license A */\ncode();\n/**\n * Copyright B\n */\n\n\n\n");
    }
}
