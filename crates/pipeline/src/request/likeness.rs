//! Names that are like one that is not known.

/// The name most like `given`, where one is like it at all.
pub(super) fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    near(given, names).into_iter().next()
}

/// How like `given` a name is, 0 to 1: as a whole, or one of its words, which counts a little less.
pub(crate) fn likeness(given: &str, name: &str) -> f64 {
    let (given, name) = (given.to_lowercase(), name.to_lowercase());
    let words = name.split(|c: char| !c.is_alphanumeric());
    let words = words.map(|word| 0.95 * strsim::jaro_winkler(&given, word));
    words.fold(strsim::jaro_winkler(&given, &name), f64::max)
}

/// The names like `given`, the most like first.
pub(crate) fn near<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<_> = names
        .map(|name| (likeness(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().map(|(_, name)| name).collect()
}
