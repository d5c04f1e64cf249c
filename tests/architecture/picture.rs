//! Draws `docs/pictures/modules.svg` from the tables of modules and parts: a module stands above those that it may use, and
//! the parts of a module are listed from the bottom up.

use crate::Module;
use crate::architecture::imports::Parts;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Sizes in pixels.
const WIDTH: usize = 960;
const LABEL: usize = 120;
const LINE: usize = 34;
const LETTER: usize = 8;

/// The picture.
pub(crate) fn draw(modules: &[Module], tables: &[Parts]) -> String {
    let mut bands = String::new();
    let mut y = 56;
    for level in levels(modules).into_values().rev() {
        for module in level {
            let parts = tables.iter().find(|table| table.module() == module).map(Parts::names).unwrap_or_default();
            y += band(&mut bands, module, parts, y) + 12;
            let is_inside = |table: &&Parts| table.module().starts_with(&format!("{module}/"));
            for table in tables.iter().filter(is_inside) {
                y += band(&mut bands, table.module(), table.names(), y) + 12;
            }
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{0}\" viewBox=\"0 0 {WIDTH} {0}\" role=\"img\" \
         aria-labelledby=\"title desc\" font-family=\"'DejaVu Sans', Verdana, Arial, sans-serif\" font-size=\"13\">\n\
         <title id=\"title\">The modules of funnelwatch</title>\n\
         <desc id=\"desc\">A module uses only modules below it. The parts of a module use only parts to their left.</desc>\n\
         <rect width=\"{WIDTH}\" height=\"{0}\" rx=\"10\" fill=\"#ffffff\"/>\n\
         <text x=\"24\" y=\"34\" fill=\"#5b6878\" font-size=\"12\">A module uses only modules below it; a part uses only parts \
         to its left, or before it on an earlier line.</text>\n{bands}</svg>\n",
        y + 8
    )
}

/// The modules by level: a module is above all those that it may use.
fn levels(modules: &[Module]) -> BTreeMap<usize, Vec<&str>> {
    let mut levels = BTreeMap::<&str, usize>::new();
    let drawn: Vec<&Module> = modules.iter().filter(|module| module.name != "lib").collect();
    // One pass for each level is enough.
    for _ in &drawn {
        for module in &drawn {
            let all = module.modules.iter().any(|name| name == "*");
            let uses = |name: &str| name != module.name && (all || module.modules.iter().any(|used| used == name));
            let below = levels.iter().filter(|(name, _)| uses(name) && **name != "main").map(|(_, level)| level + 1);
            let level = below.max().unwrap_or_default();
            levels.insert(&module.name, level);
        }
    }
    let mut by_level = BTreeMap::<usize, Vec<&str>>::new();
    for module in &drawn {
        by_level.entry(levels[module.name.as_str()]).or_default().push(&module.name);
    }
    by_level
}

/// Draws a module with its parts at `y`, and returns its height.
fn band(svg: &mut String, module: &str, parts: &[String], y: usize) -> usize {
    let mut boxes = String::new();
    let (mut x, mut line) = (LABEL + 24, 0);
    for part in parts {
        let width = part.len() * LETTER + 18;
        if x + width > WIDTH - 24 {
            (x, line) = (LABEL + 24, line + 1);
        }
        let top = y + 8 + line * LINE;
        let (middle, base) = (x + width / 2, top + 17);
        let _ = writeln!(
            boxes,
            "<rect x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"26\" rx=\"5\" fill=\"#ffffff\" stroke=\"#9fb3cc\"/>\n\
             <text x=\"{middle}\" y=\"{base}\" text-anchor=\"middle\" fill=\"#26384d\">{part}</text>"
        );
        x += width + 8;
    }
    let height = 42 + line * LINE;
    let _ = writeln!(
        svg,
        "<rect x=\"16\" y=\"{y}\" width=\"{}\" height=\"{height}\" rx=\"8\" fill=\"#eef3f9\" stroke=\"#c4d2e3\"/>\n\
         <text x=\"32\" y=\"{}\" fill=\"#26384d\" font-weight=\"bold\">{module}</text>\n{boxes}",
        WIDTH - 32,
        y + 26
    );
    height
}
