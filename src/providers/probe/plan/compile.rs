//! From a test as it is written to one that can be run. Whatever is wrong with it is found here, and named by its line.

use http::{HeaderName, Method};
use serde_json::Value;
use serde_saphyr::Spanned;

use super::entry::{self, Entry};
use super::scope::{Kind, Scope};
use super::{Answer, Assert, Body, Ends, Name, Node, Sign, Step, Test, Where};
use crate::http::Hosts;
use crate::providers::Field;
use crate::providers::entry::{Flaw, at};
use crate::providers::probe::Verdict;
use crate::providers::probe::pattern::Pattern;
use crate::providers::probe::template::{Address, Pointer, Template};

/// What is wrong with a test: where in the file, where in the test, and the rule.
pub struct Fault {
    pub line: Option<u64>,
    pub path: String,
    pub rule: String,
}

type Compiled<T> = Result<T, Fault>;

/// The test of a registry's entry.
pub fn compile(entry: &Entry, fields: &[Field], free: bool, metadata: &[String]) -> Result<Test, Flaw> {
    let mut compiler = Compiler { scope: Scope::new(fields, free, metadata), pattern_bytes: 128 * 1024 };
    let test = compiler.test(entry);
    test.map_err(|fault| Flaw { line: fault.line, rule: format!("test.{}: {}", fault.path, fault.rule) })
}

pub struct Compiler<'a> {
    pub scope: Scope<'a>,
    /// What a compiled pattern may need.
    pub pattern_bytes: usize,
}

/// Those that the way out writes itself, and those that would reach past the one request.
const NOT_OURS: [&str; 10] = [
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "cookie",
    "proxy-authorization",
];
const LONGEST_WORDS: usize = 400;

impl Compiler<'_> {
    fn test(&mut self, entry: &Entry) -> Compiled<Test> {
        for host in &entry.hosts {
            Hosts::new(vec![host.value.clone()]).map_err(|why| wrong(host, "hosts", why))?;
        }
        let hosts = Hosts::new(entry.hosts.iter().map(|host| host.value.clone()).collect());
        let hosts = hosts.map_err(|rule| Fault { line: None, path: "hosts".into(), rule })?;
        let names = entry.names.iter().map(|name| self.name(name)).collect::<Compiled<_>>()?;
        let mut steps = Vec::new();
        for (number, step) in entry.steps.iter().enumerate() {
            let path = format!("steps.{number}");
            let compiled = self.step(&step.value, step).map_err(|fault| fault.under(&path))?;
            if let Some(host) = compiled.address.constant_host().filter(|host| !hosts.allow(host)) {
                return Err(wrong(step, path, format!("{host} is not one of hosts")));
            }
            steps.push(compiled);
        }
        if steps.is_empty() {
            return Err(Fault { line: None, path: "steps".into(), rule: "there is none".into() });
        }
        Ok(Test { hosts, names, steps })
    }

    fn name(&mut self, name: &entry::Name) -> Compiled<Name> {
        let kind = self.scope.kind(&name.of.value).map_err(|rule| wrong(&name.of, "names.of", rule))?;
        // What is chosen is the registry's own words, whatever it was chosen by.
        let kind = if name.choose.is_some() { Kind::Shown } else { kind };
        self.scope.add(&name.name.value, kind).map_err(|rule| wrong(&name.name, "names.name", rule))?;
        let pattern = match &name.pattern {
            Some(text) => {
                let pattern = self.pattern(text, "names.pattern")?;
                if !pattern.has_group {
                    return Err(wrong(text, "names.pattern", "must have a group, for what it takes out"));
                }
                Some(pattern)
            }
            None => None,
        };
        if name.replace.contains_key("") {
            return Err(wrong(&name.name, "names.replace", "must not put anything in the place of nothing"));
        }
        Ok(Name {
            name: name.name.value.clone(),
            of: name.of.value.clone(),
            pattern,
            replace: name.replace.clone(),
            choose: name.choose.clone(),
            default: name.default.clone(),
        })
    }

    /// Also makes known what the step keeps.
    pub fn step<T>(&mut self, step: &entry::Step, place: &Spanned<T>) -> Compiled<Step> {
        let when = step.when.iter().map(|(name, text)| {
            self.scope.kind(name).map_err(|rule| wrong(text, "when", rule))?;
            Ok((name.clone(), self.pattern(text, "when")?))
        });
        let when = when.collect::<Compiled<Vec<_>>>()?;
        let assert = step.assert.as_ref().map(|assert| self.assert(assert)).transpose()?;
        let (method, address) = match (&step.get, &step.post) {
            (Some(address), None) => (Method::GET, self.address(address, "get")?),
            (None, Some(address)) => (Method::POST, self.address(address, "post")?),
            _ => return Err(wrong(place, "get", "a step says either get or post")),
        };
        let sign = step.sign.as_ref().map(|sign| self.sign(sign)).transpose()?;
        let compiled = Step {
            when,
            headers: self.headers(step)?,
            basic: step.basic.as_ref().map(|basic| self.basic(basic)).transpose()?,
            body: self.body(step, &method, place)?,
            method,
            address,
            sign,
            answers: self.answers(&step.answers)?,
            identity: step
                .identity
                .iter()
                .map(|(name, text)| Ok((name.clone(), self.place(text)?)))
                .collect::<Compiled<_>>()?,
            expires: step.expires.as_ref().map(|text| self.ends(text)).transpose()?,
            keep: step
                .keep
                .iter()
                .map(|(name, text)| Ok((name.clone(), self.pointer(text, "keep")?)))
                .collect::<Compiled<_>>()?,
            assert,
        };
        if let Some(assert) = &compiled.assert {
            self.scope.forget(&assert.name);
        }
        for (name, text) in &step.keep {
            self.scope.keep(name).map_err(|rule| wrong(text, "keep", rule))?;
        }
        Ok(compiled)
    }

    fn address(&self, text: &Spanned<String>, path: &str) -> Compiled<Address> {
        let address = Address::parse(&text.value).map_err(|rule| wrong(text, path, rule))?;
        for name in address.names() {
            if self.scope.kind(name).map_err(|rule| wrong(text, path, rule))? == Kind::Secret {
                let rule = format!("{name} is secret, and addresses are logged on their way: use a header or the body");
                return Err(wrong(text, path, rule));
            }
        }
        Ok(address)
    }

    fn headers(&self, step: &entry::Step) -> Compiled<Vec<(HeaderName, Template)>> {
        let mut headers = Vec::new();
        for (name, text) in &step.headers {
            let known = header(name, text)?;
            if NOT_OURS.contains(&known.as_str()) {
                return Err(wrong(text, "headers", format!("{known} is not for a test to say")));
            }
            if known == http::header::AUTHORIZATION && (step.basic.is_some() || step.sign.is_some()) {
                return Err(wrong(text, "headers", "authorization is written by basic or sign already"));
            }
            let template = self.template(text, "headers")?;
            if template.texts().any(|text| !text.bytes().all(|byte| (b' '..=b'~').contains(&byte))) {
                return Err(wrong(text, "headers", "a header is printable ASCII"));
            }
            headers.push((known, template));
        }
        Ok(headers)
    }

    fn basic(&self, basic: &entry::Basic) -> Compiled<(Template, Template)> {
        Ok((self.template(&basic.user, "basic.user")?, self.template(&basic.password, "basic.password")?))
    }

    fn body<T>(&self, step: &entry::Step, method: &Method, place: &Spanned<T>) -> Compiled<Body> {
        let body = match (&step.form, &step.json) {
            (None, None) => return Ok(Body::None),
            (Some(form), None) => {
                let entries = form.iter().map(|(name, text)| Ok((name.clone(), self.template(text, "form")?)));
                Body::Form(entries.collect::<Compiled<_>>()?)
            }
            (None, Some(json)) => Body::Json(self.node(&json.value, json)?),
            (Some(_), Some(_)) => return Err(wrong(place, "form", "a step sends either form or json")),
        };
        if method == Method::GET { Err(wrong(place, "get", "a GET sends no body")) } else { Ok(body) }
    }

    fn node(&self, json: &Value, place: &Spanned<Value>) -> Compiled<Node> {
        Ok(match json {
            Value::String(text) => {
                let text = Spanned::new(text.clone(), place.referenced, place.defined);
                Node::Text(self.template(&text, "json")?)
            }
            Value::Array(list) => Node::List(list.iter().map(|item| self.node(item, place)).collect::<Compiled<_>>()?),
            Value::Object(map) => {
                let members = map.iter().map(|(name, item)| Ok((name.clone(), self.node(item, place)?)));
                Node::Map(members.collect::<Compiled<_>>()?)
            }
            constant => Node::Constant(constant.clone()),
        })
    }

    fn assert(&mut self, assert: &Spanned<entry::Assert>) -> Compiled<Assert> {
        let entry::Assert { name, by, audience, scope } = &assert.value;
        self.reads(by.reads(), assert, "assert")?;
        let audience =
            self.part(audience.as_ref(), *by != entry::AssertBy::SnowflakeKeyPair, assert, "assert.audience")?;
        let scope = self.part(scope.as_ref(), *by == entry::AssertBy::GoogleServiceAccount, assert, "assert.scope")?;
        self.scope.add(name, Kind::Secret).map_err(|rule| wrong(assert, "assert.as", rule))?;
        Ok(Assert { name: name.clone(), by: *by, audience, scope })
    }

    fn sign(&self, sign: &Spanned<entry::Sign>) -> Compiled<Sign> {
        let entry::Sign { by, service, region } = &sign.value;
        self.reads(by.reads(), sign, "sign")?;
        let is_aws = *by == entry::SignBy::Aws;
        let service = self.part(service.as_ref(), is_aws, sign, "sign.service")?;
        let region = self.part(region.as_ref(), is_aws, sign, "sign.region")?;
        Ok(Sign { by: *by, service, region })
    }

    /// There where it is needed, and nowhere else.
    fn part<T>(
        &self,
        text: Option<&Spanned<String>>,
        needed: bool,
        place: &Spanned<T>,
        path: &str,
    ) -> Compiled<Template> {
        match (text, needed) {
            (Some(text), true) => self.template(text, path),
            (None, false) => Ok(Template::default()),
            (None, true) => Err(wrong(place, path, "is missing")),
            (Some(text), false) => Err(wrong(text, path, "is not used by this signature")),
        }
    }

    fn reads<T>(&self, fields: &[&str], place: &Spanned<T>, path: &str) -> Compiled<()> {
        let lacking = fields.iter().map(|field| field.trim_end_matches('?')).find(|field| !self.scope.has_field(field));
        lacking
            .map_or(Ok(()), |field| Err(wrong(place, path, format!("it reads the field {field}, which is not there"))))
    }

    fn answers(&self, answers: &[entry::Answer]) -> Compiled<Vec<Answer>> {
        let numbered = answers.iter().enumerate();
        let answers = numbered
            .map(|(number, answer)| self.answer(answer).map_err(|fault| fault.under(&format!("answers.{number}"))));
        answers.collect()
    }

    fn answer(&self, answer: &entry::Answer) -> Compiled<Answer> {
        let verdict = answer.outcome.value;
        if verdict == Verdict::Untested {
            return Err(wrong(&answer.outcome, "outcome", "who was asked was tested"));
        }
        if let Some(status) = answer.status.iter().find(|status| !(100..=599).contains(&status.value)) {
            return Err(wrong(status, "status", "is not a status of HTTP"));
        }
        let reason = match &answer.reason {
            Some(text) => Some(reason(verdict, text)?),
            None => None,
        };
        let at = answer.at.iter().map(|(pointer, text)| {
            let place = Spanned::new(pointer.clone(), text.referenced, text.defined);
            Ok((self.pointer(&place, "at")?, self.pattern(text, "at")?))
        });
        let headers =
            answer.headers.iter().map(|(name, text)| Ok((header(name, text)?, self.pattern(text, "headers")?)));
        Ok(Answer {
            status: answer.status.iter().map(|status| status.value).collect(),
            at: at.collect::<Compiled<_>>()?,
            lacks: answer.lacks.iter().map(|text| self.pointer(text, "lacks")).collect::<Compiled<_>>()?,
            headers: headers.collect::<Compiled<_>>()?,
            verdict,
            reason,
            hint: answer.hint.as_ref().map(|text| words(text, "hint")).transpose()?,
            warn: answer.warn.as_ref().map(|text| words(text, "warn")).transpose()?,
            go: answer.go,
        })
    }

    fn place(&self, text: &Spanned<String>) -> Compiled<Where> {
        if text.value.starts_with('/') {
            return Ok(Where::At(self.pointer(text, "identity")?));
        }
        if let Some(name) = text.value.strip_prefix("header ") {
            return Ok(Where::Header(header(name, text)?));
        }
        let template = self.template(text, "identity")?;
        for name in template.names() {
            if self.scope.kind(name).map_err(|rule| wrong(text, "identity", rule))? == Kind::Secret {
                return Err(wrong(text, "identity", format!("{name} is secret, and an identity is shown")));
            }
        }
        Ok(Where::Said(template))
    }

    fn ends(&self, text: &Spanned<String>) -> Compiled<Ends> {
        if let Some(name) = text.value.strip_prefix("header ") {
            return Ok(Ends::Header(header(name, text)?));
        }
        if let Some(pointer) = text.value.strip_prefix("certificate ") {
            let pointer = Spanned::new(pointer.to_owned(), text.referenced, text.defined);
            return Ok(Ends::Certificate(self.pointer(&pointer, "expires")?));
        }
        Ok(Ends::At(self.pointer(text, "expires")?))
    }

    fn template(&self, text: &Spanned<String>, path: &str) -> Compiled<Template> {
        let template = Template::parse(&text.value).map_err(|rule| wrong(text, path, rule))?;
        for name in template.names() {
            self.scope.kind(name).map_err(|rule| wrong(text, path, rule))?;
        }
        Ok(template)
    }

    fn pointer(&self, text: &Spanned<String>, path: &str) -> Compiled<Pointer> {
        let pointer = Pointer::parse(&text.value).map_err(|rule| wrong(text, path, rule))?;
        for name in pointer.names() {
            self.scope.kind(name).map_err(|rule| wrong(text, path, rule))?;
        }
        Ok(pointer)
    }

    fn pattern(&self, text: &Spanned<String>, path: &str) -> Compiled<Pattern> {
        Pattern::new(&text.value, self.pattern_bytes).map_err(|rule| wrong(text, path, rule))
    }
}

impl Fault {
    pub fn under(mut self, path: &str) -> Self {
        self.path = format!("{path}.{}", self.path);
        self
    }
}

pub fn wrong<T>(place: &Spanned<T>, path: impl Into<String>, rule: impl Into<String>) -> Fault {
    let Flaw { line, rule } = at(place, rule);
    Fault { line, path: path.into(), rule }
}

fn header<T>(name: &str, place: &Spanned<T>) -> Compiled<HeaderName> {
    name.parse().map_err(|_| wrong(place, "headers", "has a name that is no header's"))
}

fn reason(verdict: Verdict, text: &Spanned<String>) -> Compiled<&'static str> {
    let reasons = verdict.reasons();
    let known = reasons.iter().find(|known| **known == text.value).copied();
    let rule = || format!("{} knows the reasons {}", verdict.as_str(), reasons.join(", "));
    known.ok_or_else(|| wrong(text, "reason", rule()))
}

fn words(text: &Spanned<String>, path: &str) -> Compiled<String> {
    if text.value.chars().count() > LONGEST_WORDS || text.value.chars().any(char::is_control) {
        return Err(wrong(text, path, format!("is one line of at most {LONGEST_WORDS} characters")));
    }
    Ok(text.value.clone())
}
