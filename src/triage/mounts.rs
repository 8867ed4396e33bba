//! Folders that stand for other folders: those of a server in which a repository is deployed, and those of a
//! repository in which another one is (submodules).

use bstr::{BString, ByteSlice};

/// A folder on the server that is a folder of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The parts of the folder on the server.
    pub(super) server: Vec<Vec<u8>>,
    /// The repository's configured name.
    pub(super) repository: String,
    /// The parts of the folder in the repository; none for its top.
    pub(super) tracked: Vec<Vec<u8>>,
}

impl Mount {
    /// The folder on the server, as it is written there.
    pub(super) fn server(&self) -> String {
        format!("/{}", self.server.join(&b'/').as_bstr())
    }
}

impl std::fmt::Display for Mount {
    /// `/srv/app is services/shop of mono`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (server, repository) = (self.server(), &self.repository);
        if self.tracked.is_empty() {
            return write!(f, "{server} is {repository}");
        }
        write!(f, "{server} is {} of {repository}", self.tracked.join(&b'/').as_bstr())
    }
}

/// A folder of a repository that is a repository of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Submodule {
    /// The folder.
    pub path: BString,
    /// The repository's configured name, if it is configured.
    pub repository: Option<String>,
}

impl Submodule {
    /// What follows the submodule's path in `parts`, if that stands there in a row.
    pub(super) fn rest<'p>(&self, parts: &'p [Vec<u8>]) -> Option<&'p [Vec<u8>]> {
        let path: Vec<&[u8]> = self.path.split(|byte| *byte == b'/').collect();
        let at = parts.windows(path.len()).position(|window| window == path)?;
        Some(&parts[at + path.len()..]).filter(|rest| !rest.is_empty())
    }

    /// How many parts its path has.
    pub(super) fn depth(&self) -> usize {
        self.path.split(|byte| *byte == b'/').count()
    }
}
