//! The goldens' format: commands with what they print, as text that a person reads and a diff shows.
//!
//! ```text
//! # A comment, of the command below.
//! $ get configmap settings -o name
//!   configmap/settings
//! & get configmaps --watch
//!   ...
//! ```
//!
//! `$` runs kubectl with these words (quotes as in a shell) in the folder of the goldens; `~` does so until it succeeds, for what the server makes known with
//! some delay; `&` starts it beside the commands that follow and ends it after the last. Standard output is indented by two spaces, standard error marked by `! `, an exit code that is not zero stands last as `? 1`.

use std::fmt;

pub struct Table {
    /// The file's name without its ending; its namespace is `golden-NAME`.
    pub name: String,
    pub commands: Vec<Command>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Once,
    UntilItSucceeds,
    Beside,
}

impl Mode {
    const ALL: [(char, Self); 3] = [('$', Self::Once), ('~', Self::UntilItSucceeds), ('&', Self::Beside)];

    fn mark(self) -> char {
        Self::ALL.iter().find(|(_, mode)| *mode == self).map_or(' ', |(mark, _)| *mark)
    }
}

pub struct Command {
    /// Comment and blank lines before it, as they stand.
    pub comment: Vec<String>,
    pub mode: Mode,
    /// Without the mark.
    pub line: String,
    /// As it stands in the file.
    pub output: String,
}

impl Table {
    pub fn parse(name: &str, text: &str) -> Self {
        let mut table = Self { name: name.to_owned(), commands: Vec::new() };
        let mut comment = Vec::new();
        for line in text.lines() {
            let marked = Mode::ALL.iter().find_map(|(mark, mode)| Some((*mode, line.strip_prefix(*mark)?.strip_prefix(' ')?)));
            if let Some((mode, words)) = marked {
                table.commands.push(Command { comment: std::mem::take(&mut comment), mode, line: words.to_owned(), output: String::new() });
            } else if line.starts_with('#') {
                comment.push(line.to_owned());
            } else if let Some(command) = table.commands.last_mut() {
                command.output.push_str(line);
                command.output.push('\n');
            }
        }
        for command in &mut table.commands {
            command.output.truncate(command.output.trim_end().len());
        }
        table
    }

    /// What a command is listed as in `differences.txt`; one that stands in the table several times has a number.
    pub fn title(&self, at: usize) -> String {
        let line = &self.commands[at].line;
        let which = self.commands[..=at].iter().filter(|c| c.line == *line).count();
        let number = if which > 1 { format!(" #{which}") } else { String::new() };
        format!("{}: {line}{number}", self.name)
    }

    /// The same commands with other outputs.
    pub fn with(&self, outputs: &[String]) -> Self {
        let commands = self.commands.iter().zip(outputs);
        let commands = commands.map(|(c, output)| Command {
            comment: c.comment.clone(),
            mode: c.mode,
            line: c.line.clone(),
            output: super::normal::normal(output),
        });
        Self { name: self.name.clone(), commands: commands.collect() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, command) in self.commands.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            for line in &command.comment {
                writeln!(f, "{line}")?;
            }
            writeln!(f, "{} {}", command.mode.mark(), command.line)?;
            f.write_str(&shown(&command.output))?;
        }
        Ok(())
    }
}

/// With a line's end behind the last line, where there is one.
pub fn shown(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!("{output}\n") }
}

/// What a command printed, in the file's form.
pub fn output(stdout: &str, stderr: &str, code: i32) -> String {
    let out = stdout.lines().map(|l| format!("  {l}"));
    let err = stderr.lines().map(|l| format!("! {l}"));
    let code = (code != 0).then(|| format!("? {code}"));
    let lines: Vec<String> = out.chain(err).chain(code).map(|l| l.trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned()
}

/// The words of a line, quoted as in a shell.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn lines_are_split_as_a_shell_does() {
    assert_eq!(words(r#"patch a  -p '{"a": "b c"}' "" -l "x=y""#), ["patch", "a", "-p", r#"{"a": "b c"}"#, "", "-l", "x=y"]);
}

#[test]
fn a_table_reads_as_it_was_written() {
    let text = "# why\n$ get a\n  one\n\n  two\n! warned\n? 1\n\n~ get c\n\n& get b -w\n  three\n";
    assert_eq!(Table::parse("t", text).to_string(), text);
}
