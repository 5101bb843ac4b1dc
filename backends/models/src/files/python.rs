//! What templates of chats expect of Python: how values are written, and filters of Jinja that
//! [`minijinja`] has otherwise.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use minijinja_contrib::pycompat;
use serde_json::Value as Json;

/// How deep values may be nested that are written.
const DEPTH_MAX: usize = 64;

/// Lets an environment write values as Python does.
pub(super) fn add_to(environment: &mut Environment<'_>) {
    environment.set_formatter(|out, _, value| {
        let text = match value.kind() {
            ValueKind::Undefined => String::new(),
            _ => written(value)?,
        };
        Ok(out.write_str(&text)?)
    });
    environment.set_unknown_method_callback(|state, value, name, arguments| {
        match (name, value.as_str()) {
            ("title", Some(text)) => Ok(Value::from(title_of_words(text))),
            _ => pycompat::unknown_method_callback(state, value, name, arguments),
        }
    });
    // Python lays it out otherwise.
    environment.remove_filter("pprint");
    environment.add_filter("tojson", to_json);
    environment.add_filter("e", escape);
    environment.add_filter("escape", escape);
    environment.add_filter("string", |value: Value| written(&value));
    environment.add_filter("join", join);
    environment.add_filter("title", title);
    environment.add_filter("indent", indent);
}

/// Returns a value as `str` writes it.
fn written(value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => {
            let mut text = String::new();
            represent(value, 0, &mut text)?;
            Ok(text)
        }
    }
}

/// Writes a value as `repr` does.
fn represent(value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => text.push_str("None"),
        ValueKind::Bool if value.is_true() => text.push_str("True"),
        ValueKind::Bool => text.push_str("False"),
        ValueKind::Number => text.push_str(&number(value)),
        ValueKind::String => quote(&value.to_string(), text),
        ValueKind::Map => {
            text.push('{');
            for (place, key) in value.try_iter()?.enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                represent(&key, depth + 1, text)?;
                text.push_str(": ");
                represent(&value.get_item(&key)?, depth + 1, text)?;
            }
            text.push('}');
        }
        ValueKind::Seq | ValueKind::Iterable => {
            text.push('[');
            for (place, item) in value.try_iter()?.enumerate() {
                text.push_str(if place > 0 { ", " } else { "" });
                represent(&item, depth + 1, text)?;
            }
            text.push(']');
        }
        _ => text.push_str(&value.to_string()),
    }
    Ok(())
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth == DEPTH_MAX {
        let reason = format!("a value nested deeper than {DEPTH_MAX}");
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    Ok(())
}

/// Writes a text in quotes: single ones unless it has some, and no double ones.
fn quote(content: &str, text: &mut String) {
    let mark = if content.contains('\'') && !content.contains('"') {
        '"'
    } else {
        '\''
    };
    text.push(mark);
    for character in content.chars() {
        let code = u32::from(character);
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if character == mark => text.extend(['\\', mark]),
            '\u{2028}' | '\u{2029}' => drop(write!(text, "\\u{code:04x}")),
            _ if character.is_control() => drop(write!(text, "\\x{code:02x}")),
            _ => text.push(character),
        }
    }
    text.push(mark);
}

/// Returns a number as Python writes it: a float with the fewest digits that are it, and with an
/// exponent if it is large or small.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    if float.is_nan() {
        return "nan".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if float == 0.0 || (-4..16).contains(&exponent) {
        format!("{float:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

/// Writes a value as `json.dumps` of Python does.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<(String, String)> = options
        .get::<Option<Value>>("separators")?
        .map(|both| Ok::<_, Error>((text_at(&both, 0)?, text_at(&both, 1)?)))
        .transpose()?;
    let default = || {
        let between = if indent.is_some() { "," } else { ", " };
        (between.to_owned(), ": ".to_owned())
    };
    let (between, behind_key) = separators.unwrap_or_else(default);
    let writer = JsonWriter {
        indent,
        between,
        behind_key,
        is_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        is_sorted: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let mut text = String::new();
    writer.write(value, 0, &mut text)?;
    Ok(Value::from(text))
}

fn text_at(values: &Value, place: usize) -> Result<String, Error> {
    let text = values.get_item(&Value::from(place))?;
    Ok(text.as_str().unwrap_or_default().to_owned())
}

/// Writes values as JSON in the layout of Python.
struct JsonWriter {
    indent: Option<usize>,
    /// What comes between two items.
    between: String,
    /// What comes behind a key.
    behind_key: String,
    /// Whether what is not ASCII is escaped.
    is_ascii: bool,
    /// Whether keys are sorted.
    is_sorted: bool,
}

impl JsonWriter {
    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Map => self.items(value, true, depth, text)?,
            ValueKind::Seq | ValueKind::Iterable => self.items(value, false, depth, text)?,
            _ => text.push_str(&self.scalar(value)),
        }
        Ok(())
    }

    fn scalar(&self, value: &Value) -> String {
        match value.kind() {
            ValueKind::None | ValueKind::Undefined => "null".to_owned(),
            ValueKind::Bool if value.is_true() => "true".to_owned(),
            ValueKind::Bool => "false".to_owned(),
            ValueKind::Number => match number(value).as_str() {
                "nan" => "NaN".to_owned(),
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                finite => finite.to_owned(),
            },
            _ => self.quoted(value.to_string()),
        }
    }

    fn quoted(&self, content: String) -> String {
        let json = Json::from(content).to_string();
        if !self.is_ascii {
            return json;
        }
        let mut text = String::with_capacity(json.len());
        for character in json.chars() {
            if matches!(character, ' '..='~') {
                text.push(character);
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
        text
    }

    fn items(
        &self,
        value: &Value,
        is_map: bool,
        depth: usize,
        text: &mut String,
    ) -> Result<(), Error> {
        check_depth(depth)?;
        let (open, close) = if is_map { ('{', '}') } else { ('[', ']') };
        let mut items: Vec<Value> = value.try_iter()?.collect();
        if is_map && self.is_sorted {
            items.sort();
        }
        text.push(open);
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                text.push_str(&self.between);
            }
            self.line(depth + 1, text);
            if is_map {
                match item.as_str() {
                    Some(key) => text.push_str(&self.quoted(key.to_owned())),
                    // Other keys become texts.
                    None => text.push_str(&self.quoted(self.scalar(item))),
                }
                text.push_str(&self.behind_key);
                self.write(&value.get_item(item)?, depth + 1, text)?;
            } else {
                self.write(item, depth + 1, text)?;
            }
        }
        if !items.is_empty() {
            self.line(depth, text);
        }
        text.push(close);
        Ok(())
    }

    fn line(&self, depth: usize, text: &mut String) {
        if let Some(indent) = self.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}

/// Joins items, each as `str` writes it.
fn join(items: &Value, between: Option<String>, options: Kwargs) -> Result<String, Error> {
    let attribute: Option<String> = options.get("attribute")?;
    let d: Option<String> = options.get("d")?;
    options.assert_all_used()?;
    let mut texts = Vec::new();
    for item in items.try_iter()? {
        let item = match &attribute {
            Some(name) => item.get_attr(name)?,
            None => item,
        };
        texts.push(written(&item)?);
    }
    Ok(texts.join(&between.or(d).unwrap_or_default()))
}

/// Makes the first letter of every word large, and the others small. A word ends with a space, a
/// hyphen or an opening bracket.
fn title(value: &Value) -> Result<String, Error> {
    let mut is_first = true;
    let mut text = String::new();
    for character in written(value)?.chars() {
        let ends = character.is_whitespace() || matches!(character, '-' | '(' | '{' | '[' | '<');
        if is_first {
            text.extend(character.to_uppercase());
        } else {
            text.extend(character.to_lowercase());
        }
        is_first = ends;
    }
    Ok(text)
}

/// Makes the first of letters that follow each other large, and the others small.
fn title_of_words(text: &str) -> String {
    let mut title = String::new();
    let mut is_first = true;
    for character in text.chars() {
        if is_first {
            title.extend(character.to_uppercase());
        } else {
            title.extend(character.to_lowercase());
        }
        is_first = !character.is_alphabetic();
    }
    title
}

/// Writes what HTML has a meaning for as references.
fn escape(value: &Value) -> Result<String, Error> {
    let text = written(value)?.replace('&', "&amp;");
    let text = text.replace('<', "&lt;").replace('>', "&gt;");
    Ok(text.replace('\'', "&#39;").replace('"', "&#34;"))
}

/// Indents the lines of a text but the first and empty ones, unless it is asked for these, by four
/// spaces, so many, or a text.
fn indent(value: &Value, given: Rest<Value>, options: Kwargs) -> Result<String, Error> {
    let argument = |place: usize, name: &str| -> Result<Value, Error> {
        match given.get(place) {
            Some(value) => Ok(value.clone()),
            None => Ok(options.get::<Option<Value>>(name)?.unwrap_or_default()),
        }
    };
    let width = argument(0, "width")?;
    let (first, blank) = (
        argument(1, "first")?.is_true(),
        argument(2, "blank")?.is_true(),
    );
    options.assert_all_used()?;
    let by = match width.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(width.as_usize().unwrap_or(4)),
    };
    let text = written(value)?;
    let mut lines = text.split('\n');
    let mut indented = String::new();
    let head = lines.next().unwrap_or_default();
    if first {
        indented.push_str(&by);
    }
    indented.push_str(head);
    for line in lines {
        indented.push('\n');
        if blank || !line.is_empty() {
            indented.push_str(&by);
        }
        indented.push_str(line);
    }
    Ok(indented)
}
