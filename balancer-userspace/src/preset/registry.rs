//! Presets by name: those compiled in, and those of the operator's directory over them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use super::Preset;
use crate::config::shape;
use crate::files;

/// Name and text of every preset in `presets/`, by name.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/presets.rs"));

static EMBEDDED: LazyLock<Presets> = LazyLock::new(|| {
    let entry = |(name, text): &(&str, &str)| {
        let preset: Preset = toml::from_str(text).expect("tests read every preset that is compiled in");
        ((*name).to_owned(), Entry { preset: Arc::new(preset), file: None })
    };
    Presets(FILES.iter().map(entry).collect())
});

/// Most bytes of one preset's file: the largest that is compiled in has a hundredth of it.
const MAX_BYTES: u64 = 256 << 10;

/// Most files in a directory of presets.
const MAX_FILES: usize = 1000;

/// Presets by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Presets(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    preset: Arc<Preset>,
    /// `None` when it is compiled in.
    file: Option<PathBuf>,
}

/// A file that is no preset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PresetError {
    /// The file, or the directory.
    pub file: PathBuf,
    /// Line from 1 and its text, where the problem has one.
    pub line: Option<(usize, String)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PresetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if let Some((number, text)) = &self.line {
            write!(f, "line {number}: {text}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl Presets {
    /// Those that are compiled in.
    #[must_use]
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// Those that are compiled in, with those in the files `directory`/NAME.toml added or in their place.
    ///
    /// # Errors
    ///
    /// Every file that cannot be read as a preset, or the directory that cannot be.
    pub fn with_directory(directory: &Path) -> Result<Self, Vec<PresetError>> {
        let files = list(directory).map_err(|error| vec![error])?;
        let mut presets = EMBEDDED.clone();
        let mut errors = Vec::new();
        for file in files {
            match read(&file) {
                Ok(preset) => {
                    let entry = Entry { preset: Arc::new(preset), file: Some(file) };
                    presets.0.insert(entry.preset.name.clone(), entry);
                }
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(presets) } else { Err(errors) }
    }

    /// The preset of that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<Preset>> {
        self.0.get(name).map(|entry| &entry.preset)
    }

    /// Every preset and the file it is from, `None` for what is compiled in; by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<Preset>, Option<&Path>)> {
        self.0.values().map(|entry| (&entry.preset, entry.file.as_deref()))
    }

    /// The text of the file of the preset of that name; empty when there is none.
    ///
    /// # Errors
    ///
    /// A file that cannot be read any more.
    pub fn text(&self, name: &str) -> Result<String, PresetError> {
        match self.0.get(name).and_then(|entry| entry.file.as_ref()) {
            Some(file) => files::read_text(file, MAX_BYTES).map_err(|e| PresetError {
                file: file.clone(),
                line: None,
                message: e.to_string(),
            }),
            None => {
                Ok(FILES.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text).to_owned())
            }
        }
    }

    /// Says that there is no preset of that name, which there are, and which is most like it.
    #[must_use]
    pub fn unknown(&self, name: &str) -> String {
        shape::unknown_word(name, &self.names().collect::<Vec<_>>())
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The files named `*.toml` in a directory, sorted.
fn list(directory: &Path) -> Result<Vec<PathBuf>, PresetError> {
    let error = |message: String| PresetError { file: directory.to_owned(), line: None, message };
    let system = |e: std::io::Error| error(format!("{e}; make the directory, or leave the key out"));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(system)? {
        let path = entry.map_err(system)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(error(format!("has more than {MAX_FILES} presets; is it the right directory?")));
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Preset, PresetError> {
    let error = |line, message| PresetError { file: file.to_owned(), line, message };
    let text = files::read_text(file, MAX_BYTES).map_err(|e| error(None, e.to_string()))?;
    let preset: Preset = toml::from_str(&text).map_err(|e| {
        let line = e.span().filter(|span| *span != (0..text.len())).map(|span| line(&text, span.start));
        error(line, e.message().replace('\n', ", "))
    })?;
    let stem = file.file_stem().unwrap_or_default().display().to_string();
    if preset.name != stem {
        let message = format!("name: is {:?}; write {stem:?}, as the file is called", preset.name);
        return Err(error(None, message));
    }
    Ok(preset)
}

/// Number and text of the line that has the byte at `offset`.
fn line(text: &str, offset: usize) -> (usize, String) {
    let before = text.get(..offset).unwrap_or(text);
    let number = 1 + before.matches('\n').count();
    (number, text.lines().nth(number - 1).unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "name = \"own\"\ntitle = \"Ours\"\n[source]\nkind = \"none\"\n";

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn a_directory_adds_and_replaces() {
        let mosquitto = OWN.replace("own", "mosquitto");
        let directory =
            directory(&[("own.toml", OWN), ("mosquitto.toml", &mosquitto), ("README", "no preset")]);
        let presets = Presets::with_directory(directory.path()).unwrap();
        assert_eq!(presets.find("own").unwrap().title, "Ours");
        assert_eq!(presets.find("mosquitto").unwrap().title, "Ours");
        assert_eq!(presets.find("rabbitmq"), Presets::embedded().find("rabbitmq"));
        assert_eq!(presets.names().count(), Presets::embedded().names().count() + 1);
        let from_files: Vec<_> =
            presets.iter().filter_map(|(preset, file)| file.map(|_| &preset.name)).collect();
        assert_eq!(from_files, ["mosquitto", "own"]);
    }

    #[test]
    fn every_bad_file_is_named_with_its_key() {
        let wrong_type = format!("{OWN}[connections]\nmetric = 7\n");
        let unknown = format!("{OWN}[connections]\nmetric = \"x\"\ncounts_agents = true\n");
        let no_path = OWN.replace("kind = \"none\"", "kind = \"prometheus\"\nport = 1\npath = \"metrics\"");
        let directory = directory(&[
            ("a.toml", &wrong_type.replace("own", "a")),
            ("b.toml", &unknown.replace("own", "b")),
            ("c.toml", &no_path.replace("own", "c")),
            ("d.toml", OWN),
            ("e.toml", "name = "),
            ("f.toml", "name = \"f\"\n"),
        ]);
        let errors = Presets::with_directory(directory.path()).unwrap_err();
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let expected = [
            "a.toml: line 6: metric = 7: ",
            "b.toml: line 7: counts_agents = true: unknown field `counts_agents`",
            "c.toml: source.path: \"metrics\" is not a path; start it with \"/\"",
            "d.toml: name: is \"own\"; write \"d\", as the file is called",
            "e.toml: line 1: name =: ",
            "f.toml: line 1: name = \"f\": missing field `title`",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.contains(expected), "{error:?} has no {expected:?}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_says_so() {
        let errors = Presets::with_directory(Path::new("/nonexistent/presets")).unwrap_err();
        assert!(errors[0].to_string().starts_with("/nonexistent/presets: No such file"), "{errors:?}");
    }
}
