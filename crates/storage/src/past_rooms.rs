//! Finished runs of rooms.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Set, sea_query::OnConflict,
};

use crate::{Storage, StorageError};

mod entity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "past_rooms")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub sid: String,
        pub run: i64,
        pub room_id: String,
        pub title: String,
        pub joined_total: i64,
        pub webhook_url: String,
        pub from_landing_page: bool,
        pub created_at: i64,
        pub ended_at: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One finished run. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRoom {
    /// UUID of the run, the key.
    pub sid: String,
    /// Number of the run.
    pub run: u64,
    /// Room id.
    pub room_id: String,
    /// Title.
    pub title: String,
    /// How many different people were online.
    pub joined_total: u32,
    /// Webhook of the room, or empty.
    pub webhook_url: String,
    /// Made by the landing page's host.
    pub from_landing_page: bool,
    /// Created.
    pub created_at: u64,
    /// Ended.
    pub ended_at: u64,
}

/// By creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    #[default]
    Descending,
}

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct PastRoomQuery {
    /// Of these rooms; empty: of all.
    pub room_ids: Vec<String>,
    /// Only those of the landing page's host.
    pub only_landing_page: bool,
    /// How many to pass over.
    pub offset: u64,
    /// How many at most.
    pub limit: u64,
    /// Order.
    pub order: Order,
}

/// The repository.
#[derive(Debug)]
pub struct PastRooms<'a> {
    storage: &'a Storage,
}

impl<'a> PastRooms<'a> {
    pub(crate) fn new(storage: &'a Storage) -> Self {
        Self { storage }
    }

    /// Records a run; the same run again changes nothing.
    ///
    /// # Errors
    /// The database is out of reach.
    pub async fn record(&self, room: &PastRoom) -> Result<(), StorageError> {
        let row = entity::ActiveModel {
            sid: Set(room.sid.clone()),
            run: Set(signed(room.run)),
            room_id: Set(room.room_id.clone()),
            title: Set(room.title.clone()),
            joined_total: Set(room.joined_total.into()),
            webhook_url: Set(room.webhook_url.clone()),
            from_landing_page: Set(room.from_landing_page),
            created_at: Set(signed(room.created_at)),
            ended_at: Set(signed(room.ended_at)),
        };
        let once = OnConflict::column(entity::Column::Sid).do_nothing().to_owned();
        entity::Entity::insert(row)
            .on_conflict(once)
            .exec_without_returning(self.storage.database().await?)
            .await?;
        Ok(())
    }

    /// A page of runs, and how many match in all.
    ///
    /// # Errors
    /// The database is out of reach.
    pub async fn find(&self, query: &PastRoomQuery) -> Result<(Vec<PastRoom>, u64), StorageError> {
        let mut select = entity::Entity::find();
        if !query.room_ids.is_empty() {
            select = select.filter(entity::Column::RoomId.is_in(&query.room_ids));
        }
        if query.only_landing_page {
            select = select.filter(entity::Column::FromLandingPage.eq(true));
        }
        let database = self.storage.database().await?;
        let total = select.clone().count(database).await?;
        let select = match query.order {
            // Runs of the same millisecond keep their order from page to page.
            Order::Ascending => {
                select.order_by_asc(entity::Column::CreatedAt).order_by_asc(entity::Column::Sid)
            }
            Order::Descending => {
                select.order_by_desc(entity::Column::CreatedAt).order_by_desc(entity::Column::Sid)
            }
        };
        let rows = select.offset(query.offset).limit(query.limit).all(database).await?;
        Ok((rows.into_iter().map(PastRoom::from).collect(), total))
    }
}

impl From<entity::Model> for PastRoom {
    fn from(row: entity::Model) -> Self {
        Self {
            sid: row.sid,
            run: unsigned(row.run),
            room_id: row.room_id,
            title: row.title,
            joined_total: u32::try_from(row.joined_total).unwrap_or(0),
            webhook_url: row.webhook_url,
            from_landing_page: row.from_landing_page,
            created_at: unsigned(row.created_at),
            ended_at: unsigned(row.ended_at),
        }
    }
}

/// SQL has no unsigned numbers; ours are times and counters.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sid: &str, room: &str, created_at: u64) -> PastRoom {
        PastRoom {
            sid: sid.into(),
            run: created_at,
            room_id: room.into(),
            title: "T".into(),
            joined_total: 3,
            webhook_url: String::new(),
            from_landing_page: room == "a",
            created_at,
            ended_at: created_at + 1,
        }
    }

    #[tokio::test]
    async fn runs_are_recorded_once_and_found_page_by_page() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("history.sqlite");
        let storage = Storage::open(&file).await.unwrap();
        for (sid, room, at) in [("1", "a", 10), ("2", "b", 20), ("3", "a", 30), ("3", "a", 30)] {
            storage.past_rooms().record(&run(sid, room, at)).await.unwrap();
        }
        storage.close().await.unwrap();

        // A second start finds tables and rows.
        let storage = Storage::open(&file).await.unwrap();
        let find = async |query: PastRoomQuery| {
            let (rooms, total) = storage.past_rooms().find(&query).await.unwrap();
            (rooms.into_iter().map(|room| room.sid).collect::<Vec<_>>(), total)
        };
        let all = PastRoomQuery { limit: 2, ..Default::default() };
        assert_eq!(find(all.clone()).await, (vec!["3".into(), "2".into()], 3));
        assert_eq!(find(PastRoomQuery { offset: 2, ..all.clone() }).await, (vec!["1".into()], 3));
        let of_a =
            PastRoomQuery { room_ids: vec!["a".into()], order: Order::Ascending, limit: 9, ..all.clone() };
        assert_eq!(find(of_a).await, (vec!["1".into(), "3".into()], 2));
        assert_eq!(find(PastRoomQuery { only_landing_page: true, limit: 9, ..all }).await.1, 2);
    }

    #[tokio::test]
    async fn runs_of_one_moment_are_each_on_one_page() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(&folder.path().join("history.sqlite")).await.unwrap();
        for sid in ["c", "a", "b"] {
            storage.past_rooms().record(&run(sid, "a", 10)).await.unwrap();
        }
        let mut found = Vec::new();
        for offset in 0..3 {
            let query = PastRoomQuery { offset, limit: 1, ..Default::default() };
            found.extend(storage.past_rooms().find(&query).await.unwrap().0.into_iter().map(|room| room.sid));
        }
        assert_eq!(found, ["c", "b", "a"]);
    }

    #[tokio::test]
    async fn a_history_that_cannot_be_opened_yet_is_opened_later() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later/history.sqlite");
        let storage = Storage::lazy(&file);
        assert!(storage.connect().await.is_err());
        assert!(storage.past_rooms().record(&run("1", "a", 10)).await.is_err());
        std::fs::create_dir(folder.path().join("later")).unwrap();
        storage.past_rooms().record(&run("1", "a", 10)).await.unwrap();
        storage.close().await.unwrap();
    }
}
