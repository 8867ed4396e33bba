//! How much is remembered.

use super::document::Section;

/// The least that a database may be told to keep to: an empty one, and a few large reports.
const LEAST_DATABASE: u64 = 16 << 20;

/// How much is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// Days for which samples and mails that were sent are kept.
    pub samples_days: u32,
    /// Days after which faults that did not occur again are forgotten. `None`: never.
    pub faults_days: Option<u32>,
    /// Bytes of the database. `None`: as many as it comes to.
    pub database_bytes: Option<u64>,
    /// Bytes of the disk that are to stay free.
    pub spare_bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            samples_days: 90,
            faults_days: Some(730),
            database_bytes: Some(10 << 30),
            spare_bytes: 512 << 20,
        }
    }
}

pub(super) fn read_keep(mut section: Section<'_>) -> Keep {
    let default = Keep::default();
    let mut days = |key| section.integer(key, 0..=36_500).map(|n| u32::try_from(n).expect("in range"));
    let (samples, faults) = (days("samples_days"), days("faults_days"));
    // 0 stands for no limit.
    let keep = Keep {
        samples_days: samples.unwrap_or(default.samples_days),
        faults_days: faults.map_or(default.faults_days, |days| (days > 0).then_some(days)),
        database_bytes: section
            .integer("database_bytes", 0..=(1 << 50))
            .map_or(default.database_bytes, |bytes| (bytes > 0).then_some(bytes)),
        spare_bytes: section.integer("spare_bytes", 0..=(1 << 50)).unwrap_or(default.spare_bytes),
    };
    if keep.faults_days.is_some_and(|faults| faults < keep.samples_days) {
        let hint = "samples go with their fault";
        section.problem(
            section.span_of("faults_days"),
            "`keep.faults_days` is less than `keep.samples_days`",
            hint,
        );
    }
    if keep.database_bytes.is_some_and(|bytes| bytes < LEAST_DATABASE) {
        let said = format!("`keep.database_bytes` is at least {LEAST_DATABASE}, or 0 for no limit");
        section.problem(section.span_of("database_bytes"), said, "");
    }
    section.finish();
    keep
}
