//! Normal forms of contacts: phones, addresses and handles, and fields that hold several of them.
//!
//! A phone is digits with country code, no plus. Numbers of +7 follow the rules of the text; of other countries only
//! trunk zeros (GB, DE) and mobile forms (BR, MX, AR) are known here, so generated streams contain no others.

/// The country codes whose numbers are known, with the lengths of a valid number.
const COUNTRIES: [(&str, std::ops::RangeInclusive<usize>); 7] = [
    ("7", 11..=11),
    ("1", 11..=11),
    ("44", 12..=12),
    ("49", 10..=13),
    ("55", 12..=13),
    ("52", 12..=13),
    ("54", 12..=13),
];

/// All numbers of a phone field, in order.
pub fn phones(raw: &str) -> Vec<String> {
    several(raw, one_phone)
}

/// All addresses of an e-mail field, in order.
pub fn emails(raw: &str) -> Vec<String> {
    several(raw, one_email)
}

/// A field that holds several contacts if each part of it is one by itself, else one.
fn several(raw: &str, one: fn(&str) -> Option<String>) -> Vec<String> {
    let lines = raw.replace(":::", "\n");
    let parts = lines.split([',', ';', '/', '\n', '\r']).map(str::trim).filter(|part| !part.is_empty());
    let found: Option<Vec<String>> = parts.map(one).collect();
    match found {
        Some(found) if found.len() > 1 => {
            let mut distinct: Vec<String> = Vec::new();
            found.into_iter().for_each(|contact| {
                if !distinct.contains(&contact) {
                    distinct.push(contact);
                }
            });
            distinct
        }
        _ => one(raw).into_iter().collect(),
    }
}

fn one_phone(raw: &str) -> Option<String> {
    let text = raw.trim().to_lowercase();
    if let Some(number) = whatsapp(&text) {
        return number;
    }
    let mut text = text.as_str();
    if let Some(rest) = text.strip_prefix("sip:").or(text.strip_prefix("sips:")) {
        // Without a plus it is the name of an extension.
        text = rest.split('@').next().filter(|user| user.starts_with('+'))?;
    }
    text = text.strip_prefix("tel:").unwrap_or(text);
    if text.contains('@') {
        return None;
    }
    // Words before the number are dropped.
    let number = &text[text.find(|c: char| c == '+' || c.is_ascii_digit())?..];
    let end = number.find(|c: char| c.is_alphabetic() || "#,;".contains(c)).unwrap_or(number.len());
    let (number, behind) = number.split_at(end);
    if behind.contains(|c: char| c.is_ascii_digit()) && !is_extension(behind) {
        // Letters between digits.
        return None;
    }
    let number = without_short_brackets(number);
    let compact: String = number.chars().filter(|c| !c.is_whitespace()).collect();
    let international = compact.starts_with('+') || compact.starts_with("00");
    let compact = if international { compact.replace("(0)", "") } else { compact };
    let digits: String = compact.chars().filter(char::is_ascii_digit).collect();
    let normal = if compact.starts_with('+') {
        with_plus(number, &digits)
    } else if let Some(rest) = digits.strip_prefix("00") {
        of_country(rest)
    } else if digits.starts_with("810") && (number.contains('~') || digits.len() > 11) {
        // `8~10`; eleven digits without the tilde are a national number.
        of_country(&digits[3..])
    } else if digits.len() == 10 {
        format!("7{digits}")
    } else if digits.len() == 11 && digits.starts_with('8') {
        format!("7{}", &digits[1..])
    } else {
        digits
    };
    (normal.len() >= 6).then_some(normal)
}

/// What follows a number and begins with one of the marks of an extension.
fn is_extension(text: &str) -> bool {
    const MARKS: [&str; 11] = ["#", ",", ";", "доб", "доп", "вн", "ext", "int", "x", "p", "w"];
    MARKS.iter().any(|mark| text.starts_with(mark))
}

/// A short number in brackets behind a whole number is an extension.
fn without_short_brackets(number: &str) -> &str {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    match number.trim_end().strip_suffix(')').and_then(|open| open.rfind('(')) {
        Some(at) if digits(&number[..at]) >= 10 && (1..=5).contains(&digits(&number[at..])) => &number[..at],
        _ => number,
    }
}

/// `digits` after a plus. Slips for +7: `+8 9…`, `+8 (4|8|3)…` with 11 digits, `+7 8 (…)` with 12.
fn with_plus(written: &str, digits: &str) -> String {
    if digits.len() == 11 && digits.starts_with('8') {
        let next = digits.as_bytes()[1];
        let after = &written[written.find('8').unwrap() + 1..];
        let apart = !after.starts_with(|c: char| c.is_ascii_digit());
        if matches!(next, b'9' | b'3') || matches!(next, b'4' | b'8') && apart {
            return format!("7{}", &digits[1..]);
        }
    }
    if digits.len() == 12 && digits.starts_with("78") {
        return format!("7{}", &digits[2..]);
    }
    of_country(digits)
}

/// The one form in which the spellings of a number with country code meet.
fn of_country(digits: &str) -> String {
    let national = |code: &str| digits.strip_prefix(code);
    if let Some((code, rest)) = ["44", "49"].iter().find_map(|code| Some((code, national(code)?.strip_prefix('0')?))) {
        return format!("{code}{rest}");
    }
    if let Some(rest) = national("55").filter(|rest| rest.len() == 11 && rest.as_bytes()[2] == b'9') {
        return format!("55{}{}", &rest[..2], &rest[3..]);
    }
    for (code, mobile) in [("52", '1'), ("54", '9')] {
        if let Some(rest) = national(code).filter(|rest| rest.len() == 11).and_then(|rest| rest.strip_prefix(mobile)) {
            return format!("{code}{rest}");
        }
    }
    digits.to_owned()
}

/// `Some` if it has the form of a WhatsApp id: then its number, if it is one.
fn whatsapp(text: &str) -> Option<Option<String>> {
    let digits = ["@c.us", "@s.whatsapp.net"].iter().find_map(|suffix| text.strip_suffix(suffix))?;
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    let number = (6..=15).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit());
    Some(number.then(|| of_country(digits)))
}

/// `CHANNEL:handle` without case and blanks; of channel MESSENGER a WhatsApp id or an international number is a phone.
pub fn handle(channel: &str, raw: &str) -> Option<String> {
    let bare: String = raw.to_lowercase().chars().filter(|c| !c.is_whitespace()).collect();
    if channel == "MESSENGER" {
        if let Some(number) = whatsapp(&bare) {
            return number;
        }
        let digits = bare.strip_prefix('+').unwrap_or(&bare);
        if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
            let valid = |(code, lengths): &(&str, std::ops::RangeInclusive<usize>)| {
                digits.starts_with(code) && lengths.contains(&digits.len())
            };
            if bare.starts_with('+') && (6..=15).contains(&digits.len()) {
                return one_phone(&bare);
            }
            if (10..=15).contains(&digits.len()) && COUNTRIES.iter().any(valid) {
                return Some(of_country(digits));
            }
        }
    }
    (!bare.is_empty()).then(|| format!("{channel}:{bare}"))
}

/// Lower case, without display name, comments, `mailto:`, a trailing dot and invisible characters; the domain in ASCII.
fn one_email(raw: &str) -> Option<String> {
    let invisible =
        |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}');
    let mut depth = 0;
    let visible: String = raw
        .chars()
        .filter(|c| !invisible(*c))
        .filter(|c| {
            let comment = depth > 0 || *c == '(';
            depth += i32::from(*c == '(') - i32::from(*c == ')' && depth > 0);
            !comment
        })
        .collect();
    let bare = match (visible.rfind('<'), visible.rfind('>')) {
        (Some(open), Some(close)) if open < close => &visible[open + 1..close],
        _ => &visible,
    };
    let bare = bare.trim().to_lowercase();
    let bare = match bare.strip_prefix("mailto:") {
        Some(link) => link.split('?').next().unwrap().trim(),
        None => bare.as_str(),
    };
    let (local, domain) = bare.trim_end_matches('.').rsplit_once('@')?;
    if local.is_empty() || domain.is_empty() {
        return None;
    }
    Some(format!("{local}@{}", ascii_domain(domain)))
}

/// The domain with each label in its ASCII form (IDNA).
fn ascii_domain(domain: &str) -> String {
    let label = |label: &str| if label.is_ascii() { label.to_owned() } else { format!("xn--{}", punycode(label)) };
    domain.split('.').map(label).collect::<Vec<_>>().join(".")
}

/// RFC 3492, section 6.3.
fn punycode(label: &str) -> String {
    let points: Vec<u32> = label.chars().map(u32::from).collect();
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = out.len() as u32;
    let mut handled = basic;
    if basic > 0 {
        out.push('-');
    }
    let digit = |d: u32| char::from(if d < 26 { b'a' + d as u8 } else { b'0' + (d - 26) as u8 });
    let (mut n, mut delta, mut bias) = (128, 0, 72);
    while (handled as usize) < points.len() {
        let next = points.iter().copied().filter(|point| *point >= n).min().unwrap();
        delta += (next - n) * (handled + 1);
        n = next;
        for point in &points {
            delta += u32::from(*point < n);
            if *point == n {
                let (mut q, mut k) = (delta, 36);
                loop {
                    let t = if k <= bias { 1 } else { (k - bias).min(26) };
                    if q < t {
                        break;
                    }
                    out.push(digit(t + (q - t) % (36 - t)));
                    q = (q - t) / (36 - t);
                    k += 36;
                }
                out.push(digit(q));
                // Adapt the bias.
                delta = if handled == basic { delta / 700 } else { delta / 2 };
                delta += delta / (handled + 1);
                let mut steps = 0;
                while delta > 455 {
                    delta /= 35;
                    steps += 36;
                }
                bias = steps + 36 * delta / (delta + 38);
                delta = 0;
                handled += 1;
            }
        }
        delta += 1;
        n += 1;
    }
    out
}

/// The id of a message or interaction as it is compared: without blanks, angle brackets and what follows them.
pub fn message_key(id: &str) -> String {
    let id = id.trim();
    let id = id.strip_prefix('<').unwrap_or(id);
    id.split('>').next().unwrap().trim().to_owned()
}

/// An entry of `ignored_contacts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    Contact(String),
    /// An e-mail domain, without its subdomains.
    Domain(String),
    /// A handle of any channel, with or without `@`.
    Handle(String),
}

impl Ignored {
    pub fn read(entry: &str) -> Vec<Ignored> {
        let entry = entry.trim().to_lowercase();
        match entry.strip_prefix('@') {
            Some(domain) if domain.contains('.') => vec![Ignored::Domain(ascii_domain(domain))],
            Some(name) => vec![Ignored::Handle(name.to_owned())],
            None if entry.contains('@') => emails(&entry).into_iter().map(Ignored::Contact).collect(),
            None => phones(&entry).into_iter().map(Ignored::Contact).collect(),
        }
    }

    pub fn fits(&self, contact: &str) -> bool {
        match self {
            Ignored::Contact(own) => own == contact,
            Ignored::Domain(domain) => contact.rsplit_once('@').is_some_and(|(local, of)| {
                // `CHANNEL:@name` is a handle.
                !local.ends_with(':') && of == domain
            }),
            Ignored::Handle(name) => {
                contact.split_once(':').is_some_and(|(_, handle)| handle.trim_start_matches('@') == name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(raw: &str) -> Option<String> {
        let mut all = phones(raw);
        assert!(all.len() < 2, "{raw}: {all:?}");
        all.pop()
    }

    fn email(raw: &str) -> Option<String> {
        emails(raw).pop()
    }

    #[test]
    fn russian_spellings_have_one_normal_form() {
        for form in [
            "8 (812) 123-45-67",
            "+7 812 123 45 67",
            "8122345678",
            "+7 (812) 123-45-67 доб. 12",
            "8-812-123-45-67 ext 12",
            "88121234567,12",
            "8121234567",
            "78121234567",
            "+78121234567, доб 3",
            " (812) 123.45.67 ДОБ.9",
            "00 7 812 1234567",
            "тел. 8 (812) 123-45-67",
            "моб: +7 812 123-45-67 Иван",
            "phone: 8121234567 (home)",
            "8 (812) 123-45-67 (доб. 123)",
            "8 (812) 123-45-67 (123)",
            "8 812 123-45-67 вн. 5",
            "8 812 123-45-67 доп 5",
            "+78121234567x12",
            "+78121234567 x 12",
            "+78121234567p12",
            "+78121234567w12",
            "+78121234567#12",
            "tel:+7-812-123-45-67;ext=1234",
            "tel:+78121234567",
            "sip:+78121234567@pbx.example.com",
            "+7 8 (812) 123-45-67",
            "+8 (812) 123-45-67",
            "+8-812-123-45-67",
            "007 812 123 45 67",
            "78121234567@c.us",
            "78121234567@s.whatsapp.net",
        ] {
            let expected = if form == "8122345678" { "78122345678" } else { "78121234567" };
            assert_eq!(phone(form).as_deref(), Some(expected), "{form}");
        }
        // +7 numbers whose national part begins with 8 are unchanged.
        for national in ["800", "812", "831", "861", "862"] {
            let expected = format!("7{national}5553535");
            for form in [format!("+7{national}5553535"), format!("8{national}5553535"), format!("{national}5553535")] {
                assert_eq!(phone(&form), Some(expected.clone()), "{form}");
            }
        }
        // Kazakhstan has the same country code.
        assert_eq!(phone("8 (701) 234-56-78"), phone("+7 701 234 5678"));
        // `+8 9`, `+89` and `+8 3` are slips; `+84`, `+886` and `+880` are countries.
        assert_eq!(phone("+8 921 555-00-22").as_deref(), Some("79215550022"));
        assert_eq!(phone("+89215550022").as_deref(), Some("79215550022"));
        assert_eq!(phone("+8 343 555-00-22").as_deref(), Some("73435550022"));
        assert_eq!(phone("+84912345678").as_deref(), Some("84912345678"));
        assert_eq!(phone("+88691234567").as_deref(), Some("88691234567"));
        assert_ne!(phone("+799912345678"), phone("+79991234567"));
    }

    #[test]
    fn other_countries_and_short_forms() {
        assert_eq!(phone("+44 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("0044 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("8~10 44 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("8 10 44 20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("+44 (0)20 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("+44 020 7946 0958").as_deref(), Some("442079460958"));
        assert_eq!(phone("+49 (0) 30 23125 101").as_deref(), Some("493023125101"));
        assert_eq!(phone("+992 88 123 4567"), phone("8 10 992 88 1234567"));
        assert_eq!(phone("2234567").as_deref(), Some("2234567"));
        assert_eq!(phone("(+7) 495 123-45-67").as_deref(), Some("74951234567"));
        assert_eq!(phone("+55 11 98765-4321"), phone("+55 11 8765-4321"));
        assert_eq!(phone("+52 1 55 1234 5678"), phone("+52 55 1234 5678"));
        assert_eq!(phone("+54 9 11 2345 6789"), phone("+54 11 2345 6789"));
    }

    #[test]
    fn a_field_may_hold_several() {
        assert_eq!(phones("8 812 555-00-33, 8 921 555-00-33"), ["78125550033", "79215550033"]);
        assert_eq!(phones("8 812 555-00-35 / 8 921 555-00-35"), ["78125550035", "79215550035"]);
        assert_eq!(phones("+7 812 555-00-36 ::: +7 921 555-00-36"), ["78125550036", "79215550036"]);
        assert_eq!(phones("тел. 8 812 555-00-36\nмоб. 8 921 555-00-36"), ["78125550036", "79215550036"]);
        assert_eq!(phones("8 812 555-00-36; +7 812 555-00-36"), ["78125550036"]);
        assert_eq!(phones("030/1234567"), ["70301234567"]);
        assert_eq!(emails("a@x.ru, B <b@x.ru>; c@x.ru"), ["a@x.ru", "b@x.ru", "c@x.ru"]);
        assert_eq!(emails("\"Petrov, Ivan\" <a@x.ru>"), ["a@x.ru"]);
    }

    #[test]
    fn not_a_number() {
        for form in [
            "",
            "anonymous",
            "12345",
            "sip:ivan@pbx",
            "sip:100200@pbx",
            "ivan.petrov",
            "1-800-FLOWERS",
            "100200@10.0.0.1",
            ",12345",
            "+7",
            "812 abc 5550036",
        ] {
            assert_eq!(phone(form), None, "{form}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(email("Ivan Petrov <Ivan@Example.COM>").as_deref(), Some("ivan@example.com"));
        assert_eq!(email(" IVAN@example.com ").as_deref(), Some("ivan@example.com"));
        assert_eq!(email("Ivan"), None);
        assert_eq!(email("info@пример.испытание").as_deref(), Some("info@xn--e1afmkfd.xn--80akhbyknj4f"));
        assert_eq!(email("info@bücher.de").as_deref(), Some("info@xn--bcher-kva.de"));
        assert_eq!(email("anna1@example.com (Anna (A.) Petrova)").as_deref(), Some("anna1@example.com"));
        assert_eq!(email("mailto:anna2@example.com?subject=Hi").as_deref(), Some("anna2@example.com"));
        assert_eq!(email("anna2@example.com.").as_deref(), Some("anna2@example.com"));
        assert_eq!(email("\u{feff}anna2@exam\u{200b}ple.com").as_deref(), Some("anna2@example.com"));
        assert_eq!(email("a.b+c@Example.com").as_deref(), Some("a.b+c@example.com"));
    }

    #[test]
    fn handles() {
        assert_eq!(handle("CHAT", " Ivan P ").as_deref(), Some("CHAT:ivanp"));
        assert_eq!(handle("MESSENGER", "78121234567@c.us").as_deref(), Some("78121234567"));
        assert_eq!(handle("MESSENGER", "+7 812 123-45-67").as_deref(), Some("MESSENGER:+7812123-45-67"));
        assert_eq!(handle("MESSENGER", "+78121234567").as_deref(), Some("78121234567"));
        assert_eq!(handle("MESSENGER", "78121234567").as_deref(), Some("78121234567"));
        assert_eq!(handle("MESSENGER", "781212345").as_deref(), Some("MESSENGER:781212345"));
        assert_eq!(handle("CHAT", "78121234567").as_deref(), Some("CHAT:78121234567"));
        assert_eq!(handle("MESSENGER", "5511987654321").as_deref(), Some("551187654321"));
    }

    #[test]
    fn ids_of_messages() {
        for id in ["<a@b>", " <a@b> ", "a@b", "<a@b> (comment)", "a@b>", "< a@b >"] {
            assert_eq!(message_key(id), "a@b", "{id}");
        }
    }

    #[test]
    fn ignored_contacts() {
        let ignored = |entry: &str, contact: &str| Ignored::read(entry).iter().any(|one| one.fits(contact));
        assert!(ignored("8 812 123-45-67", "78121234567"));
        assert!(ignored("Bot@x.ru", "bot@x.ru"));
        assert!(ignored("@x.ru", "bot@x.ru") && !ignored("@x.ru", "bot@mail.x.ru"));
        assert!(ignored("@Bot", "CHAT:bot") && ignored("@bot", "MESSENGER:@bot") && !ignored("@bot", "CHAT:bot2"));
        assert!(!ignored("@x.ru", "CHAT:@x.ru"));
    }
}
