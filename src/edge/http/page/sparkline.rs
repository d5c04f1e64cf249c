//! Owns small drawings of the course of a figure, as SVG. Each says in words what it shows.

use crate::domain::rule::message::Language;
use maud::{Markup, html};
use std::fmt::Write as _;

/// A drawing beside a name; nothing if there are fewer than two values.
pub(super) fn small(values: &[f64], name: &str, language: Language) -> Markup {
    draw(values, (96.0, 24.0), "spark", name, language)
}

/// A drawing of its own.
pub(super) fn large(values: &[f64], name: &str, language: Language) -> Markup {
    draw(values, (600.0, 80.0), "spark large", name, language)
}

fn draw(values: &[f64], (width, height): (f64, f64), class: &str, name: &str, language: Language) -> Markup {
    let ([first, ..], [.., last]) = (values, values) else { return html! {} };
    if values.len() < 2 {
        return html! {};
    }
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(least, most), v| (least.min(*v), most.max(*v)));
    let span = if most > least { most - least } else { 1.0 };
    let pad = 2.0;
    let x = |index: usize| pad + (width - 2.0 * pad) * index as f64 / (values.len() - 1) as f64;
    let y = |value: f64| {
        let share = if most > least { (value - least) / span } else { 0.5 };
        height - pad - (height - 2.0 * pad) * share
    };
    let line = values.iter().enumerate().fold(String::new(), |mut line, (index, value)| {
        let _ = write!(line, "{:.1},{:.1} ", x(index), y(*value));
        line
    });
    let label = match language {
        Language::En => {
            format!("{name} over the day: from {} to {}, at most {}", shown(*first), shown(*last), shown(most))
        }
        Language::Ru => format!("{name} за день: с {} до {}, не более {}", shown(*first), shown(*last), shown(most)),
    };
    html! {
        svg class=(class) viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(label) preserveAspectRatio="none" {
            polyline points=(line.trim_end()) {}
            circle cx=(format!("{:.1}", x(values.len() - 1))) cy=(format!("{:.1}", y(*last))) r="2" {}
        }
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_says_in_words_what_it_shows() {
        let drawn = small(&[1.0, 3.0, 2.0], "Open", Language::En).into_string();
        assert!(drawn.contains("aria-label=\"Open over the day: from 1 to 2, at most 3\""), "{drawn}");
        assert!(drawn.contains("points=\"2.0,22.0 48.0,2.0 94.0,12.0\""), "{drawn}");
        assert_eq!(small(&[1.0], "Open", Language::En).into_string(), "");
        assert!(small(&[4.0, 4.0], "Open", Language::Ru).into_string().contains("с 4 до 4"));
    }
}
