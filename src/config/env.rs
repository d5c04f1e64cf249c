//! Owns what a document may take from the machine that it is read on: environment variables and files.

use std::io;
use std::path::Path;

/// What a document may ask of the machine that it is read on.
pub(crate) trait Env {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a file.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The machine itself.
pub(crate) struct SystemEnv;

impl Env for SystemEnv {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// Replaces `${NAME}` and `${NAME:-text}`; says whether there was any. `$${` stands for `${`.
pub(crate) fn expand(text: &str, outside: &dyn Env) -> Result<(String, bool), String> {
    let (mut out, mut rest, mut substituted) = (String::new(), text, false);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some((inside, after)) = after.split_once('}') else { return Err("`${` without its `}`".into()) };
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, text)| (name, Some(text)));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err("`${…}` does not hold the name of an environment variable".into());
        }
        out.push_str(before);
        match (outside.variable(name), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => return Err(format!("the environment variable {name} is not set")),
        }
        substituted = true;
        rest = after;
    }
    out.push_str(rest);
    Ok((out, substituted))
}

#[cfg(test)]
pub(crate) mod pretend {
    use super::Env;
    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};

    /// A machine with these environment variables and files.
    #[derive(Default)]
    pub(crate) struct FakeEnv {
        pub(crate) variables: BTreeMap<&'static str, &'static str>,
        pub(crate) files: BTreeMap<PathBuf, &'static str>,
    }

    impl Env for FakeEnv {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).map(|text| (*text).into())
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            self.files.get(path).map(|text| (*text).into()).ok_or(io::ErrorKind::NotFound.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pretend::FakeEnv;
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_environment_is_put_in() {
        let variables = BTreeMap::from([("HOST", "pod-3"), ("EMPTY", "")]);
        let outside = FakeEnv { variables, ..FakeEnv::default() };
        let expand = |text| expand(text, &outside);
        assert_eq!(expand("a-${HOST}-${GONE:-0}"), Ok(("a-pod-3-0".into(), true)));
        assert_eq!(expand("${EMPTY:-x}${HOST:-}"), Ok(("pod-3".into(), true)));
        assert_eq!(expand("plain $HOST $${HOST}"), Ok(("plain $HOST ${HOST}".into(), false)));
    }
}
