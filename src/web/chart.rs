//! Bars, drawn as SVG with nothing but attributes, so that the strict content policy holds. What they show
//! stands beside them in words.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

/// Bars of equal width, one a value.
#[derive(Debug, Clone, Default)]
pub(super) struct Bars {
    /// From left to right.
    pub(super) values: Vec<u64>,
    /// What stands under each, shown on hover with its value. None: a small drawing, shown by the hundred,
    /// whose words are shown on hover as a whole. Safe words.
    pub(super) labels: Vec<String>,
    /// The whole in words, for those who do not see it. Safe words.
    pub(super) words: String,
    /// The bars that are not dimmed.
    pub(super) bright: std::ops::Range<usize>,
    /// Units of the drawing.
    pub(super) width: u32,
    /// Units of the drawing.
    pub(super) height: u32,
    /// Between two bars, of the width of one with its gap.
    pub(super) gap: f64,
}

impl HtmlSafe for Bars {}

impl fmt::Display for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.labels.is_empty() {
            return self.small(f);
        }
        let most = self.values.iter().copied().max().unwrap_or(0).max(1);
        let step = f64::from(self.width) / f64::from(u32::try_from(self.values.len().max(1)).unwrap_or(1));
        let height = f64::from(self.height);
        let mut bars = String::new();
        for (at, &value) in self.values.iter().enumerate() {
            let x = step * f64::from(u32::try_from(at).unwrap_or(0));
            // Whatever happened at all is seen.
            let tall = if value == 0 { 1.0 } else { (height * ratio(value, most)).max(2.0) };
            let class = match (value, self.bright.contains(&at)) {
                (0, _) => "none",
                (_, true) => "bright",
                (_, false) => "dim",
            };
            let title = self
                .labels
                .get(at)
                .map(|label| format!("<title>{label}: {}</title>", super::show::exact(value)));
            write!(
                bars,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" rx=\"1\">{}</rect>",
                height - tall,
                step * (1.0 - self.gap),
                title.unwrap_or_default()
            )?;
        }
        write!(
            f,
            "<svg class=\"bars\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\" focusable=\"false\">{bars}</svg>",
            self.words, self.width, self.height
        )
    }
}

impl Bars {
    /// All bars as one path.
    fn small(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.values.iter().copied().max().unwrap_or(0).max(1);
        let count = u32::try_from(self.values.len().max(1)).unwrap_or(1);
        let (step, height) = (self.width / count, f64::from(self.height));
        let wide = f64::from(step) * (1.0 - self.gap);
        let mut path = String::new();
        for (x, &value) in (0..).step_by(step as usize).zip(&self.values) {
            let tall = if value == 0 { 1.0 } else { (height * ratio(value, most)).max(2.0) };
            write!(path, "M{x} {:.0}h{wide:.0}v{tall:.0}h-{wide:.0}z", height - tall)?;
        }
        write!(
            f,
            "<svg class=\"bars\" role=\"img\" viewBox=\"0 0 {} {}\" preserveAspectRatio=\"none\"><title>{}</title><path class=\"bright\" d=\"{path}\"/></svg>",
            self.width, self.height, self.words
        )
    }
}

/// A part of a whole, for drawing.
#[expect(clippy::cast_precision_loss, reason = "a screen has fewer dots than this has digits")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
