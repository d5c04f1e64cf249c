//! Reloads the configuration of a running process: detects changed files and decides whether the change can be applied.
//!
//! **Contents.** Files are compared by content, not by modification time or file system events: Kubernetes swaps
//! symbolic links, editors rename files, network file systems have their own clocks. Missing files are watched too.
//! **No partial reads.** A change is evaluated once two consecutive checks have seen the same contents, and only if
//! these are still the same after reading. **Settings built into state.** Norms that change them are rejected: they
//! require a restart. Settings that are not norms require a restart too, but norms changed along with them are applied.

use super::load::Config;
use super::schema::env::{Env, SystemEnv};
use super::schema::problem::{Problem, Problems};
use crate::domain::identity::IgnoredContacts;
use crate::domain::norms::Norms;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The running configuration and the files it was read from.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    /// The running configuration; its norms are those in force.
    running: Config,
    /// The contents evaluated last, and whether they are in force.
    evaluated: (Contents, bool),
    /// The contents seen by the last check, if they differ.
    pending: Option<Contents>,
}

/// The result of a check for changes.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// Nothing to evaluate.
    Same,
    /// The files are still changing.
    Unsettled,
    /// Changed norms, which count as in force from now on.
    Applied(Reloaded),
    /// The change cannot be applied; the previous norms stay in force.
    Refused(Problems),
}

/// A reloaded configuration.
#[derive(Debug)]
pub struct Reloaded {
    /// The norms.
    pub norms: Arc<Norms>,
    /// Valid but suspicious settings.
    pub notes: Vec<Problem>,
    /// Changed keys that require a restart.
    pub waiting: Vec<&'static str>,
}

impl Watched {
    /// Reads the configuration file `path`.
    pub fn load(path: &Path) -> Result<(Config, Self), Problems> {
        let recorder = Recorder::default();
        let config = Config::load_with(path, &recorder)?;
        let evaluated = (recorder.0.into_inner(), true);
        Ok((config.clone(), Self { path: path.into(), running: config, evaluated, pending: None }))
    }

    /// Checks whether the files have changed. With `requested` a change is evaluated at once, without a second check,
    /// and rejected contents are evaluated again.
    pub fn check(&mut self, requested: bool) -> ReloadOutcome {
        let (evaluated, in_force) = &self.evaluated;
        let now = evaluated.now();
        if now == *evaluated && (*in_force || !requested) {
            self.pending = None;
            return ReloadOutcome::Same;
        }
        if !requested && self.pending.as_ref() != Some(&now) {
            self.pending = Some(now);
            return ReloadOutcome::Unsettled;
        }
        let recorder = Recorder::default();
        let read = Config::load_with(&self.path, &recorder);
        let contents = recorder.0.into_inner();
        if contents.now() != contents {
            return ReloadOutcome::Unsettled;
        }
        self.pending = None;
        let result = read.and_then(|config| self.apply(config));
        self.evaluated = (contents, result.is_ok());
        match result {
            Ok(reloaded) => ReloadOutcome::Applied(reloaded),
            Err(problems) => ReloadOutcome::Refused(problems),
        }
    }

    fn apply(&mut self, config: Config) -> Result<Reloaded, Problems> {
        let Config {
            kafka,
            topics,
            time,
            engine,
            limits,
            http,
            http_server,
            api,
            page,
            members,
            redis,
            prometheus,
            // Only the gateway and `notify` read them.
            gateway: _,
            notify: _,
            language,
            norms,
            notes,
            files: _,
        } = config;
        let (running, old) = (&self.running, &self.running.norms);
        let built_in = changed([
            ("windows", old.windows != norms.windows),
            ("default_country", old.country != norms.country),
            ("min_talk_seconds", old.min_talk != norms.min_talk),
            ("conversation_needs_manager", old.conversation_needs_manager != norms.conversation_needs_manager),
            ("ignored_contacts", !ignored_contacts(old).eq(ignored_contacts(&norms))),
            ("shared_contact_limit", old.shared_contact_limit != norms.shared_contact_limit),
            ("excluded_reasons", old.excluded_reasons != norms.excluded_reasons),
            ("privacy_key", old.privacy_key != norms.privacy_key),
        ]);
        if !built_in.is_empty() {
            let file = self.path.display().to_string();
            let text = "existing state was built with the old value; changing it requires a restart";
            let problem = |key: &str| Problem { file: file.clone(), line: 0, path: key.into(), text: text.into() };
            return Err(Problems(built_in.into_iter().map(problem).collect()));
        }
        let waiting = changed([
            ("kafka", running.kafka != kafka),
            ("topics", running.topics != topics),
            ("time", running.time != time),
            ("engine", running.engine != engine),
            ("limits", running.limits != limits),
            ("http", running.http != http),
            ("http_server", running.http_server != http_server),
            ("api", running.api != api),
            ("page", running.page != page),
            ("members", running.members != members),
            ("redis", running.redis != redis),
            ("prometheus", running.prometheus != prometheus),
            ("language", running.language != language),
        ]);
        let reloaded = Reloaded { norms: Arc::new(norms.clone()), notes, waiting };
        self.running.norms = norms;
        Ok(reloaded)
    }
}

/// The lists of ignored contacts, each with the tenant that it applies to.
fn ignored_contacts(norms: &Norms) -> impl Iterator<Item = (Option<&str>, &Arc<IgnoredContacts>)> {
    let base = norms.base.ignored_contacts.iter().map(|list| (None, list));
    let by_override =
        norms.overrides.iter().filter_map(|over| Some((over.tenant.as_deref(), over.layer.ignored_contacts.as_ref()?)));
    base.chain(by_override)
}

fn changed<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// Files with a hash of their text, so that no secret is kept; `None`: the file cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Contents(BTreeMap<PathBuf, Option<u64>>);

impl Contents {
    /// The current contents of these files.
    fn now(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), digest(&SystemEnv.file(path)))).collect())
    }
}

fn digest(text: &io::Result<String>) -> Option<u64> {
    let text = text.as_ref().ok()?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Some(hasher.finish())
}

/// The system environment, recording which files were read.
#[derive(Default)]
struct Recorder(RefCell<Contents>);

impl Env for Recorder {
    fn variable(&self, name: &str) -> Option<String> {
        SystemEnv.variable(name)
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = SystemEnv.file(path);
        self.0.borrow_mut().0.entry(path.into()).or_insert_with(|| digest(&text));
        text
    }

    fn is_public(&self, path: &Path) -> bool {
        SystemEnv.is_public(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rule::Rule;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A temporary folder, removed on drop.
    struct Folder(PathBuf);

    impl Folder {
        /// A folder with a configuration whose norms are in a separate file.
        fn new(norms: &str) -> Self {
            static FOLDERS: AtomicU32 = AtomicU32::new(0);
            let index = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let folder = Self(std::env::temp_dir().join(format!("funnelwatch-reload-{}-{index}", std::process::id())));
            fs::create_dir_all(&folder.0).expect("a folder");
            folder.write("main.yaml", "norms_file: norms.yaml\n");
            folder.write("norms.yaml", norms);
            folder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).expect("a file is written");
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).expect("our file");
        }

        fn watch(&self) -> Watched {
            Watched::load(&self.path("main.yaml")).unwrap_or_else(|problems| panic!("{problems}")).1
        }

        /// The kind of result and its details, without the folder.
        fn summary(&self, outcome: ReloadOutcome) -> (&'static str, Vec<String>) {
            let (kind, details) = match outcome {
                ReloadOutcome::Same => ("same", Vec::new()),
                ReloadOutcome::Unsettled => ("unsettled", Vec::new()),
                ReloadOutcome::Applied(Reloaded { norms, notes, waiting }) => {
                    assert_eq!(notes, []);
                    let within = norms.base.rules[&Rule::Neglected].within.expect("given").span.to_string();
                    ("applied", std::iter::once(within).chain(waiting.into_iter().map(String::from)).collect())
                }
                ReloadOutcome::Refused(Problems(problems)) => {
                    ("refused", problems.iter().map(ToString::to_string).collect())
                }
            };
            let folder = format!("{}/", self.0.display());
            (kind, details.into_iter().map(|text| text.replace(&folder, "")).collect())
        }

        /// Two checks, of which the first detects the change.
        fn settled(&self, watched: &mut Watched) -> (&'static str, Vec<String>) {
            assert_eq!(self.summary(watched.check(false)).0, "unsettled");
            self.summary(watched.check(false))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn within(span: &str) -> String {
        format!("norms: {{neglected: {{within: {span}}}}}\n")
    }

    fn applied(span: &str) -> (&'static str, Vec<String>) {
        ("applied", vec![span.into()])
    }

    #[test]
    fn a_change_is_applied_when_two_checks_see_it() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.watch();
        assert_eq!(folder.summary(watched.check(false)).0, "same");
        folder.write("norms.yaml", &within("4h"));
        assert_eq!(folder.settled(&mut watched), applied("4h"));
        assert_eq!(folder.summary(watched.check(false)).0, "same");
        // A partially written file that is a valid document.
        folder.write("norms.yaml", &within("1h"));
        assert_eq!(folder.summary(watched.check(false)).0, "unsettled");
        folder.write("norms.yaml", &format!("{}calendar: c\n", within("1h")));
        assert_eq!(folder.summary(watched.check(false)).0, "unsettled");
        folder.write("norms.yaml", &within("2h"));
        assert_eq!(folder.settled(&mut watched), applied("2h"));
        // Changed and reverted before the change was evaluated.
        folder.write("norms.yaml", &within("1h"));
        assert_eq!(folder.summary(watched.check(false)).0, "unsettled");
        folder.write("norms.yaml", &within("2h"));
        assert_eq!(folder.summary(watched.check(false)).0, "same");
    }

    #[test]
    fn a_requested_reload_is_evaluated_at_once() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.watch();
        assert_eq!(folder.summary(watched.check(true)).0, "same");
        folder.write("norms.yaml", &within("4h"));
        assert_eq!(folder.summary(watched.check(true)), applied("4h"));
        assert_eq!(folder.summary(watched.check(true)).0, "same");
        folder.write("norms.yaml", "norms: soon");
        assert_eq!(folder.summary(watched.check(true)).0, "refused");
        assert_eq!(folder.summary(watched.check(false)).0, "same");
        assert_eq!(folder.summary(watched.check(true)).0, "refused");
    }

    #[test]
    fn an_invalid_change_is_reported_once_and_not_applied() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.watch();
        folder.write("norms.yaml", &format!("\n{}langauge: ru\n", within("soon")));
        let (kind, problems) = folder.settled(&mut watched);
        assert_eq!(kind, "refused");
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("norms.yaml:2: norms.neglected.within: "), "{problems:?}");
        assert!(problems[1].starts_with("norms.yaml:3: langauge: "), "{problems:?}");
        assert_eq!(folder.summary(watched.check(false)).0, "same");
        fs::remove_file(folder.path("norms.yaml")).expect("removed");
        let result = folder.settled(&mut watched);
        let missing = "main.yaml:1: norms_file: cannot read norms.yaml: entity not found".to_owned();
        assert_eq!(result, ("refused", vec![missing]));
        // Restored contents are applied like any others, so that the reload counters show the recovery.
        folder.write("norms.yaml", &within("8h"));
        assert_eq!(folder.settled(&mut watched), applied("8h"));
    }

    #[test]
    fn all_files_are_watched_including_missing_ones() {
        let folder = Folder::new(&format!("include: [days.yaml]\n{}", within("8h")));
        let days = |hours: &str| format!("calendars: {{c: {{timezone: UTC, week: {{mon: [{hours}]}}}}}}\n");
        folder.write("days.yaml", &days("09:00-18:00"));
        let mut watched = folder.watch();
        folder.write("days.yaml", &days("09:00-17:00"));
        assert_eq!(folder.settled(&mut watched), applied("8h"));
        folder.write("norms.yaml", &format!("include: [days.yaml, more.yaml]\n{}", within("4h")));
        assert_eq!(folder.settled(&mut watched).0, "refused");
        folder.write("more.yaml", "calendars: {}\n");
        assert_eq!(folder.settled(&mut watched), applied("4h"));
        folder.write("more.yaml", "calendars:\n");
        assert_eq!(folder.summary(watched.check(false)).0, "unsettled");
    }

    #[test]
    fn settings_built_into_state_require_a_restart() {
        let folder = Folder::new(&within("8h"));
        folder.write("key", "one");
        folder.write("main.yaml", "norms_file: norms.yaml\nprivacy_key: {file: key}\n");
        let mut watched = folder.watch();
        let refused = |keys: &[&str]| {
            let problem = |key| {
                format!("main.yaml: {key}: existing state was built with the old value; changing it requires a restart")
            };
            ("refused", keys.iter().map(problem).collect::<Vec<_>>())
        };
        for (text, key) in [
            ("windows: [{size: 1h, slide: 1m}]", "windows"),
            ("default_country: KZ", "default_country"),
            ("min_talk_seconds: 2", "min_talk_seconds"),
            ("conversation_needs_manager: true", "conversation_needs_manager"),
            ("ignored_contacts: [\"@example.com\"]", "ignored_contacts"),
            ("overrides: [{when: {tenant: a}, ignored_contacts: [\"@example.com\"]}]", "ignored_contacts"),
            ("shared_contact_limit: 19", "shared_contact_limit"),
            ("excluded_reasons: [spam]", "excluded_reasons"),
        ] {
            folder.write("norms.yaml", &format!("{}{text}\n", within("1h")));
            assert_eq!(folder.settled(&mut watched), refused(&[key]));
        }
        folder.write("key", "two");
        assert_eq!(folder.settled(&mut watched), refused(&["excluded_reasons", "privacy_key"]));
        // The same settings, spelled differently.
        folder.write("key", "one\n");
        folder.write(
            "norms.yaml",
            &format!(
                "{}min_talk_seconds: 1\ndefault_country: RU\nignored_contacts: []\nexcluded_reasons:\n",
                within("1h")
            ),
        );
        assert_eq!(folder.settled(&mut watched), applied("1h"));
    }

    #[test]
    fn settings_that_are_not_norms_require_a_restart() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.watch();
        let sections = "kafka: {group: g}\ntopics: {alerts: a}\ntime: {idle_after: 1s}\nengine: {epoch: 1s}\nlimits: {id_bytes: 99}\n\
                        http: 127.0.0.1:1\napi: {token: 0123456789abcdef}\npage: {deal_url: 'http://crm/{id}'}\nmembers: {}\nredis: {url: 'redis://r'}\n\
                        prometheus: {max_series: 1}\nlanguage: ru\nnorms_file: norms.yaml\n";
        folder.write("main.yaml", sections);
        let expected = [
            "8h",
            "kafka",
            "topics",
            "time",
            "engine",
            "limits",
            "http",
            "api",
            "page",
            "members",
            "redis",
            "prometheus",
            "language",
        ]
        .map(String::from)
        .to_vec();
        assert_eq!(folder.settled(&mut watched), ("applied", expected));
        folder.write("norms.yaml", &within("1h"));
        assert_eq!(folder.settled(&mut watched).1.len(), 13, "still pending");
        folder.write("main.yaml", "norms_file: norms.yaml\n");
        assert_eq!(folder.settled(&mut watched), applied("1h"));
    }

    #[test]
    #[cfg(unix)]
    fn a_config_map_swapped_by_symbolic_links_is_detected() {
        use std::os::unix::fs::symlink;
        let folder = Folder::new(&within("8h"));
        for (version, span) in [("v1", "8h"), ("v2", "4h")] {
            fs::create_dir(folder.path(version)).expect("a folder");
            folder.write(&format!("{version}/norms.yaml"), &within(span));
        }
        symlink("v1", folder.path("..data")).expect("a link");
        fs::remove_file(folder.path("norms.yaml")).expect("removed");
        symlink("..data/norms.yaml", folder.path("norms.yaml")).expect("a link");
        let mut watched = folder.watch();
        assert_eq!(folder.summary(watched.check(false)).0, "same");
        symlink("v2", folder.path("..data_tmp")).expect("a link");
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).expect("swapped");
        assert_eq!(folder.settled(&mut watched), applied("4h"));
    }
}
