//! Which projects somebody sees: all, or those that they were given and those that they write code of.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension, params};

use super::{Account, AccountRole, Fault, FaultId, Project, ProjectId, StoreError, Tx};

/// How far somebody sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Every project.
    All,
    /// These.
    Only(BTreeSet<ProjectId>),
}

impl Reach {
    /// Nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Whether a project is within it.
    #[must_use]
    pub fn has(&self, project: ProjectId) -> bool {
        match self {
            Self::All => true,
            Self::Only(projects) => projects.contains(&project),
        }
    }
}

impl Tx<'_> {
    /// How far an account sees. `authors`: whether whoever writes code of a project sees it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn reach_of(&self, account: &Account, authors: bool) -> Result<Reach, StoreError> {
        if !account.limited || account.role == AccountRole::Admin {
            return Ok(Reach::All);
        }
        let mut projects: BTreeSet<_> = self.projects_given(account.id)?.into_iter().collect();
        if authors {
            projects.extend(self.projects_of_author(&account.mail)?);
        }
        Ok(Reach::Only(projects))
    }

    /// The projects that a limited account was given.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn projects_given(&self, account: i64) -> Result<Vec<ProjectId>, StoreError> {
        let sql = "SELECT project FROM account_projects WHERE account = ?1 ORDER BY project";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_map([account], |row| row.get(0).map(ProjectId))?.collect::<Result<_, _>>()?)
    }

    /// Limits an account to projects; `None`: it sees all.
    ///
    /// # Errors
    /// What SQLite says, such as that there is no such project.
    pub fn give_projects(&self, account: i64, projects: Option<&[ProjectId]>) -> Result<(), StoreError> {
        let sql = "UPDATE accounts SET limited = ?2 WHERE id = ?1";
        self.0.prepare_cached(sql)?.execute(params![account, i64::from(projects.is_some())])?;
        self.0.prepare_cached("DELETE FROM account_projects WHERE account = ?1")?.execute([account])?;
        let sql = "INSERT INTO account_projects (account, project) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        let mut statement = self.0.prepare_cached(sql)?;
        for project in projects.unwrap_or_default() {
            statement.execute([account, project.0])?;
        }
        Ok(())
    }

    /// The projects that an address (in lower case) writes code of: git names it as an author of a commit or
    /// of a fault, or it was written to about one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn projects_of_author(&self, mail: &str) -> Result<Vec<ProjectId>, StoreError> {
        let sql = "
            SELECT id FROM projects p
            WHERE EXISTS (SELECT 1 FROM authors a WHERE a.mail = ?1 AND a.project = p.id)
                OR EXISTS (SELECT 1 FROM faults f WHERE lower(f.author_mail) = ?1 AND f.project = p.id)
                OR EXISTS (SELECT 1 FROM outbox o JOIN faults f ON f.id = o.fault
                           WHERE lower(o.recipient) = ?1 AND f.project = p.id)
            ORDER BY id";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_map([mail], |row| row.get(0).map(ProjectId))?.collect::<Result<_, _>>()?)
    }

    /// The commit up to which a repository's authors are known.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn authors_tip(&self, project: ProjectId, repository: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT tip FROM author_tips WHERE project = ?1 AND repository = ?2";
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.query_row(params![project.0, repository], |row| row.get(0)).optional()?)
    }

    /// Keeps who wrote a repository's commits up to `tip`, addresses in lower case.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_authors(
        &self,
        project: ProjectId,
        repository: &str,
        mails: &BTreeSet<String>,
        tip: &str,
    ) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO authors (project, repository, mail) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        let mut statement = self.0.prepare_cached(sql)?;
        for mail in mails {
            statement.execute(params![project.0, repository, mail])?;
        }
        let sql = "
            INSERT INTO author_tips (project, repository, tip) VALUES (?1, ?2, ?3)
            ON CONFLICT (project, repository) DO UPDATE SET tip = excluded.tip";
        self.0.prepare_cached(sql)?.execute(params![project.0, repository, tip])?;
        Ok(())
    }

    /// Forgets the authors of repositories that a project has no more.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn forget_authors_but(&self, project: ProjectId, repositories: &[String]) -> Result<(), StoreError> {
        let known: Vec<String> = {
            let mut statement =
                self.0.prepare_cached("SELECT repository FROM author_tips WHERE project = ?1")?;
            statement.query_map([project.0], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        for gone in known.iter().filter(|name| !repositories.contains(name)) {
            for table in ["authors", "author_tips"] {
                let sql = format!("DELETE FROM {table} WHERE project = ?1 AND repository = ?2");
                self.0.prepare_cached(&sql)?.execute(params![project.0, gone])?;
            }
        }
        Ok(())
    }

    /// A fault that is within reach.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fault_within(&self, id: FaultId, reach: &Reach) -> Result<Option<Fault>, StoreError> {
        Ok(self.fault(id)?.filter(|fault| reach.has(fault.project)))
    }

    /// The projects within reach, by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn projects_within(&self, reach: &Reach) -> Result<Vec<Project>, StoreError> {
        let mut projects = self.projects()?;
        projects.retain(|project| reach.has(project.id));
        Ok(projects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn somebody_sees_what_they_were_given_and_what_they_write() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let seen = store.write(|tx| -> Result<_, StoreError> {
            let [shop, bank, mill] =
                [tx.ensure_project("shop", 1)?, tx.ensure_project("bank", 1)?, tx.ensure_project("mill", 1)?];
            let new = tx.ensure_account("ada@example.org", AccountRole::Developer, 1)?;
            let mut seen = vec![tx.reach_of(&new, true)?];
            tx.give_projects(new.id, Some(&[bank]))?;
            tx.note_authors(shop, "shop", &["ada@example.org".to_owned()].into(), "c1")?;
            let ada = tx.account_of_mail("ada@example.org")?.unwrap();
            seen.extend([tx.reach_of(&ada, true)?, tx.reach_of(&ada, false)?]);
            tx.forget_authors_but(shop, &["other".to_owned()])?;
            assert_eq!(tx.authors_tip(shop, "shop")?, None);
            seen.push(tx.reach_of(&ada, true)?);
            tx.set_role(ada.id, AccountRole::Admin)?;
            seen.push(tx.reach_of(&tx.account_of_mail("ada@example.org")?.unwrap(), true)?);
            assert!(seen.iter().skip(1).take(3).all(|reach| !reach.has(mill)));
            Ok((seen, shop, bank))
        });
        let (seen, shop, bank) = seen.unwrap();
        let only = |projects: &[ProjectId]| Reach::Only(projects.iter().copied().collect());
        assert_eq!(seen, [Reach::All, only(&[shop, bank]), only(&[bank]), only(&[bank]), Reach::All]);
    }
}
