//! How secrets come in: from stdin, from a file, or from a prompt that does not echo. Never as an argument: every program
//! on the machine can read another's arguments, and the shell keeps them. What was typed there by mistake is refused, and
//! not repeated in the refusal.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read, Write as _};

use super::error::Failure;
use super::output::escape;
use crate::crypto::Secret;

/// No provider hands out longer ones.
const MAX_SECRET: u64 = 1 << 20;
/// A terminal does not take longer lines.
const MAX_ANSWER: usize = 4096;

/// This process's stdin and terminal.
pub(super) struct Inputs {
    pub stdin: Box<dyn Read>,
    /// Somebody sits there and can be asked.
    pub terminal: bool,
    /// Asks without an echo.
    pub prompt: Prompt,
}

type Prompt = Box<dyn FnMut(&str) -> io::Result<String>>;

/// What a question was answered with.
pub(super) enum Answer {
    Given(Secret),
    /// Just Enter.
    Nothing,
    /// It cannot be used; worth asking again.
    Useless(Failure),
}

/// What `--field` and `--document` say.
#[derive(clap::Args)]
pub(super) struct Upload {
    /// One field of the upload: NAME=- reads it from stdin, NAME=@FILE from a file, NAME alone asks for it.
    #[arg(long = "field", value_name = "NAME[=-|=@FILE]")]
    pub fields: Vec<String>,

    /// The upload as the provider hands it out: a file, or `-` for stdin. Beside it, --field gives what is not in it.
    #[arg(long, value_name = "FILE|-")]
    pub document: Option<String>,

    /// Catches a secret that was typed as an argument, so that it is refused without being repeated.
    #[arg(hide = true)]
    pub stray: Vec<String>,
}

/// The upload itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Uploaded {
    pub fields: BTreeMap<String, Secret>,
    pub document: Option<Secret>,
}

impl Upload {
    /// Nothing when neither fields nor a document were named.
    pub fn read(&self, inputs: &mut Inputs) -> Result<Option<Uploaded>, Failure> {
        if !self.stray.is_empty() {
            return Err(secret_as_argument("after ORG and PROVIDER comes nothing but options", "api_key"));
        }
        if self.fields.is_empty() && self.document.is_none() {
            return Ok(None);
        }
        // Everything is refused before anything is read or asked for.
        let mut sources = BTreeMap::new();
        let mut from_stdin = usize::from(self.document.as_deref() == Some("-"));
        for text in &self.fields {
            let (name, source) = Source::parse(text)?;
            from_stdin += usize::from(matches!(source, Source::Stdin));
            if sources.insert(name, source).is_some() {
                return Err(Failure::usage(format!("--field {name} is given twice")));
            }
        }
        if from_stdin > 1 {
            return Err(Failure::usage("stdin can be read once, so only one of --field and --document can be `-`")
                .hint("give the others as files: NAME=@FILE"));
        }
        let document = self.document.as_deref().map(|place| document(place, inputs)).transpose()?;
        let fields = sources.into_iter().map(|(name, source)| Ok((name.to_owned(), source.read(name, inputs)?)));
        Ok(Some(Uploaded { fields: fields.collect::<Result<_, Failure>>()?, document }))
    }
}

impl Inputs {
    pub fn of_process() -> Self {
        let prompt = Box::new(|question: &str| rpassword::prompt_password(question));
        Self { stdin: Box::new(io::stdin()), terminal: io::stdin().is_terminal(), prompt }
    }

    /// All of stdin, exactly. In a terminal, one line that does not show.
    pub fn secret(&mut self, what: &str) -> Result<Secret, Failure> {
        if self.terminal {
            return self.ask_secret(what);
        }
        capped(&mut self.stdin, what)
    }

    /// A file's content, or stdin's where its name is `-`.
    pub fn place(&mut self, place: &str, what: &str) -> Result<Secret, Failure> {
        if place == "-" { self.secret(what) } else { file(place, what) }
    }

    /// A question that is no secret; the answer without its end of line.
    pub fn ask(&mut self, question: &str) -> Result<String, Failure> {
        let cannot = |cause: io::Error| Failure::usage(format!("cannot read the answer: {cause}"));
        // A closed stderr is nobody's problem.
        let _ = write!(io::stderr(), "{} ", escape(question));
        let mut answer = Vec::new();
        // Byte by byte: what follows the line is the next answer.
        let mut byte = [0];
        while answer.len() < MAX_ANSWER && byte != *b"\n" {
            match self.stdin.read(&mut byte).map_err(cannot)? {
                0 if answer.is_empty() => return Err(Failure::usage("the question was not answered")),
                0 => break,
                _ => answer.push(byte[0]),
            }
        }
        let answer = String::from_utf8(answer).map_err(|_| Failure::usage("the answer is no text"))?;
        Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// A value that may show.
    pub fn answer(&mut self, question: &str) -> Result<Answer, Failure> {
        Ok(given(self.ask(question)?.trim().to_owned()))
    }

    /// A value that must not show.
    pub fn hidden(&mut self, question: &str) -> Result<Answer, Failure> {
        Ok(given(self.unseen(question)?))
    }

    /// The content of a file whose path is asked for.
    pub fn file(&mut self, question: &str, what: &str) -> Result<Answer, Failure> {
        let path = self.ask(question)?;
        // As a file manager drops it.
        let path = path.trim().trim_matches(['\'', '"']);
        if path.is_empty() {
            return Ok(Answer::Nothing);
        }
        Ok(match file(path, what) {
            Ok(content) => Answer::Given(content),
            Err(failure) if path.starts_with('~') => Answer::Useless(failure.hint("only a shell knows what ~ is")),
            Err(failure) => Answer::Useless(failure),
        })
    }

    fn ask_secret(&mut self, what: &str) -> Result<Secret, Failure> {
        not_empty(Secret::from(self.unseen(what)?), what)
    }

    fn unseen(&mut self, what: &str) -> Result<String, Failure> {
        let line = (self.prompt)(&escape(&format!("{what}: ")));
        line.map_err(|cause| Failure::usage(format!("{what}: cannot ask: {cause}")))
    }
}

fn given(answer: String) -> Answer {
    if answer.is_empty() { Answer::Nothing } else { Answer::Given(Secret::from(answer)) }
}

/// Where one field comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    Stdin,
    File(&'a str),
    Prompt,
}

impl<'a> Source<'a> {
    fn parse(text: &'a str) -> Result<(&'a str, Self), Failure> {
        let (name, source) = match text.split_once('=') {
            None => (text, Self::Prompt),
            Some((name, "-")) => (name, Self::Stdin),
            Some((name, place)) => match place.strip_prefix('@') {
                Some(path) if !path.is_empty() => (name, Self::File(path)),
                _ if is_name(name) => return Err(secret_as_argument(&format!("--field {name}=…"), name)),
                _ => return Err(secret_as_argument("--field", "NAME")),
            },
        };
        match is_name(name) {
            true => Ok((name, source)),
            false => Err(secret_as_argument("--field does not begin with a field's name", "NAME")),
        }
    }

    fn read(&self, name: &str, inputs: &mut Inputs) -> Result<Secret, Failure> {
        let what = format!("field {name}");
        match self {
            Self::Stdin => inputs.secret(&what),
            Self::File(path) => file(path, &what),
            Self::Prompt if inputs.terminal => inputs.ask_secret(&what),
            // The "name" may be a misplaced secret; it is not repeated.
            Self::Prompt => Err(Failure::usage("a --field without `=` asks for its value, but stdin is no terminal")
                .hint("--field NAME=- reads stdin, --field NAME=@FILE a file")),
        }
    }
}

fn document(place: &str, inputs: &mut Inputs) -> Result<Secret, Failure> {
    match place {
        "-" if inputs.terminal => Err(Failure::usage("--document - reads a pipe, and a terminal would show it")
            .hint("name the file, as in --document key.json, or ask for one field with --field NAME")),
        "-" => inputs.secret("the document"),
        path => file(path, "the document"),
    }
}

/// An error does not repeat the path: it may be a secret that was taken for one.
fn file(path: &str, what: &str) -> Result<Secret, Failure> {
    let mut file =
        File::open(path).map_err(|cause| Failure::usage(format!("{what}: cannot open its file: {cause}")))?;
    capped(&mut file, what)
}

fn capped(from: &mut dyn Read, what: &str) -> Result<Secret, Failure> {
    let mut bytes = Vec::with_capacity(8 << 10);
    let read = from.take(MAX_SECRET + 1).read_to_end(&mut bytes);
    let secret = Secret::from(bytes);
    read.map_err(|cause| Failure::usage(format!("{what}: cannot be read: {cause}")))?;
    if secret.len() as u64 > MAX_SECRET {
        return Err(Failure::usage(format!("{what}: longer than 1 MiB, which no credential is")));
    }
    not_empty(secret, what)
}

fn not_empty(secret: Secret, what: &str) -> Result<Secret, Failure> {
    match secret.is_empty() {
        true => Err(Failure::usage(format!("{what}: nothing came in")).hint("is the variable set that you pipe in?")),
        false => Ok(secret),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn secret_as_argument(place: &str, name: &str) -> Failure {
    Failure::usage(format!("{place}: a secret must not be an argument; other programs can read it there"))
        .hint(format!("printf %s \"$KEY\" | strongroom … --field {name}=-   or   --field {name}=@FILE"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::error::Exit;
    use super::*;

    pub fn piped(stdin: &'static [u8]) -> Inputs {
        Inputs { stdin: Box::new(stdin), terminal: false, prompt: Box::new(|_| Err(io::Error::other("nobody to ask"))) }
    }

    pub fn terminal(typed: &'static [u8]) -> Inputs {
        let prompt = Box::new(|question: &str| Ok(format!("typed for {question}")));
        Inputs { stdin: Box::new(typed), terminal: true, prompt }
    }

    fn upload(fields: &[&str], document: Option<&str>) -> Upload {
        Upload {
            fields: fields.iter().map(ToString::to_string).collect(),
            document: document.map(Into::into),
            stray: Vec::new(),
        }
    }

    fn refused(upload: &Upload, mut inputs: Inputs) -> String {
        let failure = upload.read(&mut inputs).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        failure.to_string()
    }

    #[test]
    fn a_field_from_stdin_is_kept_to_the_last_byte() {
        let read = upload(&["api_key=-"], None).read(&mut piped(b" sk-1\n")).unwrap().unwrap();
        assert_eq!(read.fields["api_key"].expose(), b" sk-1\n");
    }

    #[test]
    fn fields_from_files_beside_one_from_stdin() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"AKIA\r\n").unwrap();
        let id = format!("access_key_id=@{}", file.path().display());
        let read = upload(&[&id, "secret=-"], None).read(&mut piped(b"s3")).unwrap().unwrap();
        assert_eq!(read.fields["access_key_id"].expose(), b"AKIA\r\n");
        assert_eq!(read.fields["secret"].expose(), b"s3");
    }

    #[test]
    fn a_document_beside_a_field_that_is_not_in_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[DEFAULT]\n").unwrap();
        let place = file.path().display().to_string();
        let read = upload(&["private_key=-"], Some(&place)).read(&mut piped(b"pem")).unwrap().unwrap();
        assert_eq!(read.document.unwrap().expose(), b"[DEFAULT]\n");
        assert_eq!(read.fields["private_key"].expose(), b"pem");
    }

    #[test]
    fn documents() {
        let read = upload(&[], Some("-")).read(&mut piped(b"{}")).unwrap().unwrap();
        assert_eq!(read.document.unwrap().expose(), b"{}");
        assert!(refused(&upload(&[], Some("-")), terminal(b"")).contains("pipe"));
        assert_eq!(upload(&[], None).read(&mut piped(b"unread")).unwrap(), None);
    }

    #[test]
    fn a_secret_as_an_argument_is_refused_and_not_repeated() {
        for field in ["api_key=sk-canary", "api_key=", "api_key=@", "sk-canary!=x", "=sk-canary", "a key=sk-canary"] {
            let said = refused(&upload(&[field], None), piped(b""));
            assert!(said.contains("must not be an argument") && said.contains("hint: "), "{said}");
            assert!(!said.contains("canary"), "{said}");
        }
        assert!(refused(&upload(&["api_key=sk"], None), piped(b"")).contains("--field api_key=-"));

        let stray = Upload { stray: vec!["sk-canary".into()], ..upload(&[], None) };
        assert!(!refused(&stray, piped(b"")).contains("canary"));
        for place in ["api_key=@/nowhere/canary", "sk-canary"] {
            assert!(!refused(&upload(&[place], None), piped(b"")).contains("canary"));
        }
        assert!(!refused(&upload(&[], Some("{\"key\": \"canary\"}")), piped(b"")).contains("canary"));
    }

    #[test]
    fn stdin_is_read_once() {
        assert!(refused(&upload(&["a=-", "b=-"], None), piped(b"x")).contains("once"));
        assert!(refused(&upload(&["a=-", "a=@x"], None), piped(b"x")).contains("twice"));
        assert!(refused(&upload(&["a=-"], Some("-")), piped(b"x")).contains("once"));
    }

    #[test]
    fn in_a_terminal_secrets_are_asked_for_without_an_echo() {
        let read = upload(&["api_key", "other=-"], None).read(&mut terminal(b"visible")).unwrap().unwrap();
        assert_eq!(read.fields["api_key"].expose(), b"typed for field api_key: ");
        assert_eq!(read.fields["other"].expose(), b"typed for field other: ");
        assert!(refused(&upload(&["api_key"], None), piped(b"x")).contains("no terminal"));
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert!(refused(&upload(&["a=-"], None), piped(b"")).contains("nothing came in"));
        let endless = Inputs { stdin: Box::new(io::repeat(b'x')), ..piped(b"") };
        assert!(refused(&upload(&["a=-"], None), endless).contains("1 MiB"));
    }
}
