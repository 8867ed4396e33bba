//! Who writes the code of each project: what the pages ask before they let an author in.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::blame::Blamer;
use crate::store::{ProjectId, Store, StoreError};

/// Keeps the authors of every project's repositories. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Authors(Arc<Inner>);

struct Inner {
    store: Store,
    blamer: Blamer,
    /// Each with the names of its repositories.
    projects: Vec<(ProjectId, Vec<String>)>,
    turn: Mutex<()>,
}

impl Authors {
    /// The authors of these projects, each with the names of its repositories.
    #[must_use]
    pub fn new(store: Store, blamer: Blamer, projects: Vec<(ProjectId, Vec<String>)>) -> Self {
        Self(Arc::new(Inner { store, blamer, projects, turn: Mutex::default() }))
    }

    /// Reads the commits that are new on the tracked branches. Where there are none, that is quick; the first
    /// time takes seconds for a long history. A repository that cannot be read is left for the next time.
    ///
    /// # Errors
    /// What the store says.
    pub async fn look(&self) -> Result<(), StoreError> {
        // Whoever comes meanwhile finds what this one has read.
        let _turn = self.0.turn.lock().await;
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || inner.look()).await.expect("reading does not panic")
    }
}

impl Inner {
    fn look(&self) -> Result<(), StoreError> {
        for (project, repositories) in &self.projects {
            self.store.write(|tx| tx.forget_authors_but(*project, repositories))?;
            for repository in repositories {
                let known = self.store.read(|tx| tx.authors_tip(*project, repository))?;
                match self.blamer.authors(repository, known.as_deref()) {
                    Ok((tip, _)) if known.as_ref() == Some(&tip.0) => {}
                    Ok((tip, mails)) => {
                        self.store.write(|tx| tx.note_authors(*project, repository, &mails, &tip.0))?;
                    }
                    Err(error) => tracing::debug!(%error, "the authors of a repository are not known yet"),
                }
            }
        }
        Ok(())
    }
}
