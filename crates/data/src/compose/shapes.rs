//! Simple shapes for scenes that need no download, in a square of 100.

pub(super) const SHAPES: &[(&str, &str)] = &[
    ("circle", r#"<circle cx="50" cy="50" r="48"/>"#),
    ("square", r#"<rect x="6" y="6" width="88" height="88"/>"#),
    ("triangle", r#"<path d="M50 4 L98 92 H2 Z"/>"#),
    (
        "star",
        r#"<path d="M50 2 L64.1 33.6 98.5 37.3 72.8 60.4 80 94.3 50 77 20 94.3 27.2 60.4 1.5 37.3 35.9 33.6 Z"/>"#,
    ),
    (
        "heart",
        r#"<path d="M50 92 C10 62 2 44 2 30 C2 14 14 4 27 4 C37 4 46 10 50 20 C54 10 63 4 73 4 C86 4 98 14 98 30 C98 44 90 62 50 92 Z"/>"#,
    ),
    (
        "cross",
        r#"<path d="M34 4 H66 V34 H96 V66 H66 V96 H34 V66 H4 V34 H34 Z"/>"#,
    ),
    (
        "ring",
        r#"<path fill-rule="evenodd" d="M50 2 A48 48 0 1 0 50.01 2 Z M50 26 A24 24 0 1 1 49.99 26 Z"/>"#,
    ),
    (
        "moon",
        r#"<path d="M70 6 A46 46 0 1 0 94 66 A38 38 0 0 1 70 6 Z"/>"#,
    ),
    (
        "hexagon",
        r#"<path d="M26 8 H74 L98 50 L74 92 H26 L2 50 Z"/>"#,
    ),
    (
        "arrow",
        r#"<path d="M2 36 H52 V10 L98 50 L52 90 V64 H2 Z"/>"#,
    ),
];
