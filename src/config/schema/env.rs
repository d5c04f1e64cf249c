//! Access to environment variables and files for documents that refer to them.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Source of environment variables and files.
pub trait Env {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The text of a document.
    fn file(&self, path: &Path) -> io::Result<String>;
    /// The text of a file with a secret.
    fn secret(&self, path: &Path) -> io::Result<String> {
        self.file(path)
    }
    /// Whether every user of the system can read a file.
    fn is_public(&self, path: &Path) -> bool;
}

/// The process environment and the file system.
pub(crate) struct SystemEnv;

impl Env for SystemEnv {
    fn variable(&self, name: &str) -> Option<String> {
        // Shells set it without exporting it.
        let host = || (name == "HOSTNAME").then(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok()).flatten();
        std::env::var(name).ok().or_else(|| host().map(|host| host.trim().to_owned()))
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let decoded = super::encoding::decode(std::fs::read(path)?);
        decoded.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    fn is_public(&self, path: &Path) -> bool {
        const READ_BY_OTHERS: u32 = 0o004;
        std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & READ_BY_OTHERS != 0)
    }
}

/// Why a file cannot be read, without its path.
pub(crate) fn reason(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.kind().to_string(), ToString::to_string)
}

/// Expands `${NAME}` and `${NAME:-default}`; also returns whether anything was expanded. `$${` is an escaped `${`.
pub(crate) fn expand(text: &str, env: &dyn Env) -> Result<(String, bool), String> {
    let (mut out, mut rest, mut substituted) = (String::new(), text, false);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some((inside, after)) = after.split_once('}') else { return Err("unterminated `${`".into()) };
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, text)| (name, Some(text)));
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err("invalid environment variable name in `${…}`".into());
        }
        out.push_str(before);
        match (env.variable(name), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => return Err(format!("environment variable {name} is not set")),
        }
        substituted = true;
        rest = after;
    }
    out.push_str(rest);
    Ok((out, substituted))
}

#[cfg(test)]
pub(crate) mod fake {
    use super::Env;
    use std::collections::BTreeMap;
    use std::io;
    use std::path::{Path, PathBuf};

    /// A fixed set of environment variables and files.
    #[derive(Default)]
    pub(crate) struct FakeEnv {
        pub(crate) variables: BTreeMap<&'static str, &'static str>,
        pub(crate) files: BTreeMap<PathBuf, &'static str>,
        pub(crate) public: bool,
    }

    impl FakeEnv {
        pub(crate) fn with_variables(
            mut self,
            variables: impl IntoIterator<Item = (&'static str, &'static str)>,
        ) -> Self {
            self.variables.extend(variables);
            self
        }
    }

    impl Env for FakeEnv {
        fn variable(&self, name: &str) -> Option<String> {
            self.variables.get(name).map(|text| (*text).into())
        }

        fn file(&self, path: &Path) -> io::Result<String> {
            self.files.get(path).map(|text| (*text).into()).ok_or(io::ErrorKind::NotFound.into())
        }

        fn is_public(&self, _: &Path) -> bool {
            self.public
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::FakeEnv;
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn environment_variables_are_expanded() {
        let variables = BTreeMap::from([("HOST", "pod-3"), ("EMPTY", "")]);
        let env = FakeEnv { variables, ..FakeEnv::default() };
        let expand = |text| expand(text, &env);
        assert_eq!(expand("a-${HOST}-${GONE:-0}"), Ok(("a-pod-3-0".into(), true)));
        assert_eq!(expand("${EMPTY:-x}${HOST:-}"), Ok(("pod-3".into(), true)));
        assert_eq!(expand("plain $HOST $${HOST}"), Ok(("plain $HOST ${HOST}".into(), false)));
    }
}
