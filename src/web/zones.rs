//! Time zones, as people choose one.

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The parts of the world that zones are named by, so that old names for the same are left out.
const AREAS: [&str; 10] = [
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
];

/// Every zone, by the part of the world that it is in.
pub(super) fn by_area() -> Vec<(&'static str, Vec<String>)> {
    let known: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect();
    let within = |area: &str| {
        let names = known.iter().filter(|name| name.split_once('/').is_some_and(|(first, _)| first == area));
        let mut names: Vec<String> = names.cloned().collect();
        names.sort();
        names
    };
    AREAS.into_iter().map(|area| (area, within(area))).collect()
}

/// The zone of an IANA name. `None`: there is none.
#[must_use]
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|zone| zone.iana_name().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_zone_that_is_offered_is_one() {
        let all = by_area();
        assert!(all.iter().map(|(_, names)| names.len()).sum::<usize>() > 300);
        for name in all.iter().flat_map(|(_, names)| names) {
            assert!(zone(name).is_some(), "{name}");
        }
        for none in ["", "Europe/Nowhere", "../../etc/passwd", "Europe", "/etc/localtime"] {
            assert!(zone(none).is_none(), "{none}");
        }
        assert!(zone("UTC").is_some());
    }
}
