//! Owns the managers of a tenant: their numbers, departments and grades.

use super::effect::{Effect, Person, StateKey, Who};
use super::id::{DepartmentId, ManagerId, UNKNOWN};
use compact_str::CompactString;
use rustc_hash::FxHashMap;

/// The managers of a tenant; number 0 is nobody.
#[derive(Debug, Default)]
pub struct People {
    numbers: FxHashMap<ManagerId, Who>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    id: ManagerId,
    department: Option<DepartmentId>,
    grade: Option<CompactString>,
    active: bool,
}

impl People {
    /// The number of a manager, announced on first sight.
    pub fn number(&mut self, id: &ManagerId, out: &mut Vec<Effect>) -> Who {
        if let Some(who) = self.numbers.get(id) {
            return *who;
        }
        let who = Who(self.members.len() as u32 + 1);
        self.numbers.insert(id.clone(), who);
        self.members.push(Member { id: id.clone(), department: None, grade: None, active: true });
        self.announce(who, out);
        who
    }

    /// Replaces the whole record of a manager.
    pub fn upsert(
        &mut self,
        id: &ManagerId,
        department: Option<&DepartmentId>,
        grade: Option<&CompactString>,
        active: bool,
        out: &mut Vec<Effect>,
    ) {
        let who = self.number(id, out);
        let Some(member) = self.members.get_mut(who.0 as usize - 1) else { return };
        let new = (department, grade, active);
        if (member.department.as_ref(), member.grade.as_ref(), member.active) != new {
            member.department = department.cloned();
            member.grade = grade.cloned();
            member.active = active;
            self.announce(who, out);
        }
    }

    fn announce(&self, who: Who, out: &mut Vec<Effect>) {
        if let Some(member) = self.member(who) {
            let person =
                Person { who, id: member.id.clone(), department: member.department.clone(), active: member.active };
            out.push(Effect::Person(Box::new(person)));
            out.push(Effect::Touched(StateKey::Manager(member.id.clone())));
        }
    }

    /// The id of a manager; nobody has none.
    pub fn id(&self, who: Who) -> Option<&ManagerId> {
        Some(&self.member(who)?.id)
    }

    /// The department of a manager, `unknown` if none.
    pub fn department(&self, who: Who) -> &str {
        self.member(who).and_then(|member| member.department.as_ref()).map_or(UNKNOWN, DepartmentId::as_str)
    }

    /// The grade of a manager.
    pub fn grade(&self, who: Who) -> Option<&str> {
        self.member(who)?.grade.as_deref()
    }

    fn member(&self, who: Who) -> Option<&Member> {
        self.members.get((who.0 as usize).checked_sub(1)?)
    }
}
