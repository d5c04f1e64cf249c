//! Owns how a configuration is read again while a run goes on: notices that a file that it came from has changed, and
//! judges whether what stands there now may take force.
//!
//! **Contents count.** Files are compared by their text, not by dates or notices of the system: Kubernetes swaps symbolic
//! links, editors rename, network disks have clocks of their own. A file that is missing is watched as well.
//! **No half of a file.** A change is judged when two looks one after the other have found the same, and if it still is
//! the same once it has been read. **What state was built with stays.** Norms that change it are refused: they need a
//! restart. So do settings that are no norms, but norms beside them take force.

use super::env::{Env, SystemEnv};
use super::problem::{Problem, Problems};
use super::{Config, Path, PathBuf};
use crate::domain::norms::Norms;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;

/// A configuration that runs, and the files that it came from.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    /// The norms in it are those in force.
    running: Config,
    /// What was judged last, and whether that is in force.
    judged: (Contents, bool),
    /// What the last look found, if that was something else.
    found: Option<Contents>,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Look {
    /// Nothing to judge.
    Same,
    /// Somebody seems to be writing.
    Unsettled,
    /// Other norms, which are taken to be in force from now on.
    Applied(Renewed),
    /// What is there cannot take force; what was in force still is.
    Refused(Problems),
}

/// What has been read anew.
#[derive(Debug)]
pub struct Renewed {
    /// The norms.
    pub norms: Arc<Norms>,
    /// What is legal and yet suspicious.
    pub notes: Vec<Problem>,
    /// Keys whose change waits for a restart.
    pub waiting: Vec<&'static str>,
}

impl Watched {
    /// Reads the configuration file `path`.
    pub fn load(path: &Path) -> Result<(Config, Self), Problems> {
        let recorder = Recorder::default();
        let config = Config::load_with(path, &recorder)?;
        let judged = (recorder.0.into_inner(), true);
        Ok((config.clone(), Self { path: path.into(), running: config, judged, found: None }))
    }

    /// Looks whether the files have changed. `asked`: somebody says so, it is not waited for a second look, and what was
    /// refused is judged once more.
    pub fn look(&mut self, asked: bool) -> Look {
        let (judged, in_force) = &self.judged;
        let now = judged.now();
        if now == *judged && (*in_force || !asked) {
            self.found = None;
            return Look::Same;
        }
        if !asked && self.found.as_ref() != Some(&now) {
            self.found = Some(now);
            return Look::Unsettled;
        }
        let recorder = Recorder::default();
        let read = Config::load_with(&self.path, &recorder);
        let contents = recorder.0.into_inner();
        if contents.now() != contents {
            return Look::Unsettled;
        }
        self.found = None;
        let judgement = read.and_then(|config| self.judge(config));
        self.judged = (contents, judgement.is_ok());
        match judgement {
            Ok(renewed) => Look::Applied(renewed),
            Err(problems) => Look::Refused(problems),
        }
    }

    fn judge(&mut self, config: Config) -> Result<Renewed, Problems> {
        let Config { kafka, topics, time, engine, http, api, redis, prometheus, language, norms, notes, files: _ } =
            config;
        let (running, old) = (&self.running, &self.running.norms);
        let built_in = changed([
            ("windows", old.windows != norms.windows),
            ("default_country", old.country != norms.country),
            ("min_talk_seconds", old.min_talk != norms.min_talk),
            ("privacy_key", old.privacy_key != norms.privacy_key),
        ]);
        if !built_in.is_empty() {
            let file = self.path.display().to_string();
            let text = "what is kept was built with the old value: a change needs a restart";
            let problem = |key: &str| Problem { file: file.clone(), line: 0, path: key.into(), text: text.into() };
            return Err(Problems(built_in.into_iter().map(problem).collect()));
        }
        let waiting = changed([
            ("kafka", running.kafka != kafka),
            ("topics", running.topics != topics),
            ("time", running.time != time),
            ("engine", running.engine != engine),
            ("http", running.http != http),
            ("api", running.api != api),
            ("redis", running.redis != redis),
            ("prometheus", running.prometheus != prometheus),
            ("language", running.language != language),
        ]);
        let renewed = Renewed { norms: Arc::new(norms.clone()), notes, waiting };
        self.running.norms = norms;
        Ok(renewed)
    }
}

fn changed<const N: usize>(keys: [(&'static str, bool); N]) -> Vec<&'static str> {
    keys.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// Files, each with the hash of its text; `None`: it cannot be read. So no secret is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Contents(BTreeMap<PathBuf, Option<u64>>);

impl Contents {
    /// What these files hold now.
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

/// The machine, and what was read on it.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rule::Rule;
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder of its own, gone at the end.
    struct Folder(PathBuf);

    impl Folder {
        /// With a configuration whose norms stand in a file of their own.
        fn new(norms: &str) -> Self {
            static FOLDERS: AtomicU32 = AtomicU32::new(0);
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let folder = Self(std::env::temp_dir().join(format!("funnelwatch-reload-{}-{number}", std::process::id())));
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
        }

        fn evaluation(&self) -> Watched {
            Watched::load(&self.path("main.yaml")).unwrap_or_else(|problems| panic!("{problems}")).1
        }

        /// A look in one word and what it told, without the folder.
        fn told(&self, look: Look) -> (&'static str, Vec<String>) {
            let (word, told) = match look {
                Look::Same => ("same", Vec::new()),
                Look::Unsettled => ("unsettled", Vec::new()),
                Look::Applied(Renewed { norms, notes, waiting }) => {
                    assert_eq!(notes, []);
                    let within = norms.base.rules[&Rule::Neglected].within.expect("given").span.to_string();
                    ("applied", std::iter::once(within).chain(waiting.into_iter().map(String::from)).collect())
                }
                Look::Refused(Problems(problems)) => ("refused", problems.iter().map(ToString::to_string).collect()),
            };
            let folder = format!("{}/", self.0.display());
            (word, told.into_iter().map(|text| text.replace(&folder, "")).collect())
        }

        /// Two looks, of which the first finds that something changed.
        fn settled(&self, watched: &mut Watched) -> (&'static str, Vec<String>) {
            assert_eq!(self.told(watched.look(false)).0, "unsettled");
            self.told(watched.look(false))
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
    fn a_change_takes_force_when_two_looks_find_it() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.evaluation();
        assert_eq!(folder.told(watched.look(false)).0, "same");
        folder.write("norms.yaml", &within("4h"));
        assert_eq!(folder.settled(&mut watched), applied("4h"));
        assert_eq!(folder.told(watched.look(false)).0, "same");
        // Half a file, which is a document as well.
        folder.write("norms.yaml", &within("1h"));
        assert_eq!(folder.told(watched.look(false)).0, "unsettled");
        folder.write("norms.yaml", &format!("{}calendar: c\n", within("1h")));
        assert_eq!(folder.told(watched.look(false)).0, "unsettled");
        folder.write("norms.yaml", &within("2h"));
        assert_eq!(folder.settled(&mut watched), applied("2h"));
        // Written, and taken back before anybody judged it.
        folder.write("norms.yaml", &within("1h"));
        assert_eq!(folder.told(watched.look(false)).0, "unsettled");
        folder.write("norms.yaml", &within("2h"));
        assert_eq!(folder.told(watched.look(false)).0, "same");
    }

    #[test]
    fn who_asks_gets_an_answer_at_once() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.evaluation();
        assert_eq!(folder.told(watched.look(true)).0, "same");
        folder.write("norms.yaml", &within("4h"));
        assert_eq!(folder.told(watched.look(true)), applied("4h"));
        assert_eq!(folder.told(watched.look(true)).0, "same");
        folder.write("norms.yaml", "norms: soon");
        assert_eq!(folder.told(watched.look(true)).0, "refused");
        assert_eq!(folder.told(watched.look(false)).0, "same");
        assert_eq!(folder.told(watched.look(true)).0, "refused");
    }

    #[test]
    fn what_is_broken_is_told_once_and_changes_nothing() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.evaluation();
        folder.write("norms.yaml", &format!("\n{}langauge: ru\n", within("soon")));
        let (word, told) = folder.settled(&mut watched);
        assert_eq!(word, "refused");
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("norms.yaml:2: norms.neglected.within: "), "{told:?}");
        assert!(told[1].starts_with("norms.yaml:3: langauge: "), "{told:?}");
        assert_eq!(folder.told(watched.look(false)).0, "same");
        fs::remove_file(folder.path("norms.yaml")).expect("removed");
        let told = folder.settled(&mut watched);
        let gone = "main.yaml:1: norms_file: cannot read norms.yaml: entity not found".to_owned();
        assert_eq!(told, ("refused", vec![gone]));
        // What was in force before is applied like any other: whoever counts sees that all is well again.
        folder.write("norms.yaml", &within("8h"));
        assert_eq!(folder.settled(&mut watched), applied("8h"));
    }

    #[test]
    fn every_file_counts_and_those_that_are_not_there_yet() {
        let folder = Folder::new(&format!("include: [days.yaml]\n{}", within("8h")));
        let days = |hours: &str| format!("calendars: {{c: {{timezone: UTC, week: {{mon: [{hours}]}}}}}}\n");
        folder.write("days.yaml", &days("09:00-18:00"));
        let mut watched = folder.evaluation();
        folder.write("days.yaml", &days("09:00-17:00"));
        assert_eq!(folder.settled(&mut watched), applied("8h"));
        folder.write("norms.yaml", &format!("include: [days.yaml, more.yaml]\n{}", within("4h")));
        assert_eq!(folder.settled(&mut watched).0, "refused");
        folder.write("more.yaml", "calendars: {}\n");
        assert_eq!(folder.settled(&mut watched), applied("4h"));
        folder.write("more.yaml", "calendars:\n");
        assert_eq!(folder.told(watched.look(false)).0, "unsettled");
    }

    #[test]
    fn what_state_was_built_with_needs_a_restart() {
        let folder = Folder::new(&within("8h"));
        folder.write("key", "one");
        folder.write("main.yaml", "norms_file: norms.yaml\nprivacy_key: {file: key}\n");
        let mut watched = folder.evaluation();
        let refused = |keys: &[&str]| {
            let told =
                |key| format!("main.yaml: {key}: what is kept was built with the old value: a change needs a restart");
            ("refused", keys.iter().map(told).collect::<Vec<_>>())
        };
        for (text, key) in [
            ("windows: [{size: 1h, slide: 1m}]", "windows"),
            ("default_country: KZ", "default_country"),
            ("min_talk_seconds: 2", "min_talk_seconds"),
        ] {
            folder.write("norms.yaml", &format!("{}{text}\n", within("1h")));
            assert_eq!(folder.settled(&mut watched), refused(&[key]));
        }
        folder.write("key", "two");
        assert_eq!(folder.settled(&mut watched), refused(&["min_talk_seconds", "privacy_key"]));
        // Said in another way, all is as it was.
        folder.write("key", "one\n");
        folder.write("norms.yaml", &format!("{}min_talk_seconds: 1\ndefault_country: RU\n", within("1h")));
        assert_eq!(folder.settled(&mut watched), applied("1h"));
    }

    #[test]
    fn settings_that_are_no_norms_wait_for_a_restart() {
        let folder = Folder::new(&within("8h"));
        let mut watched = folder.evaluation();
        let sections = "kafka: {group: g}\ntopics: {alerts: a}\ntime: {idle_after: 1s}\nengine: {epoch: 1s}\n\
                        http: 127.0.0.1:1\napi: {token: 0123456789abcdef}\nredis: {url: 'redis://r'}\n\
                        prometheus: {max_series: 1}\nlanguage: ru\nnorms_file: norms.yaml\n";
        folder.write("main.yaml", sections);
        let told = ["8h", "kafka", "topics", "time", "engine", "http", "api", "redis", "prometheus", "language"]
            .map(String::from)
            .to_vec();
        assert_eq!(folder.settled(&mut watched), ("applied", told));
        folder.write("norms.yaml", &within("1h"));
        assert_eq!(folder.settled(&mut watched).1.len(), 10, "they still wait");
        folder.write("main.yaml", "norms_file: norms.yaml\n");
        assert_eq!(folder.settled(&mut watched), applied("1h"));
    }

    #[test]
    #[cfg(unix)]
    fn a_config_map_is_swapped_by_its_links() {
        use std::os::unix::fs::symlink;
        let folder = Folder::new(&within("8h"));
        for (version, span) in [("v1", "8h"), ("v2", "4h")] {
            fs::create_dir(folder.path(version)).expect("a folder");
            folder.write(&format!("{version}/norms.yaml"), &within(span));
        }
        symlink("v1", folder.path("..data")).expect("a link");
        fs::remove_file(folder.path("norms.yaml")).expect("removed");
        symlink("..data/norms.yaml", folder.path("norms.yaml")).expect("a link");
        let mut watched = folder.evaluation();
        assert_eq!(folder.told(watched.look(false)).0, "same");
        symlink("v2", folder.path("..data_tmp")).expect("a link");
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).expect("swapped");
        assert_eq!(folder.settled(&mut watched), applied("4h"));
    }
}
