//! The tables' history. A released step never changes.

use sea_orm_migration::prelude::*;

pub(crate) struct Migrations;

#[async_trait::async_trait]
impl MigratorTrait for Migrations {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(PastRooms), Box::new(PastRoomsByTime)]
    }
}

struct PastRooms;

impl MigrationName for PastRooms {
    fn name(&self) -> &'static str {
        "m0001_past_rooms"
    }
}

#[derive(DeriveIden)]
enum PastRoom {
    #[sea_orm(iden = "past_rooms")]
    Table,
    Sid,
    Run,
    RoomId,
    Title,
    JoinedTotal,
    WebhookUrl,
    FromLandingPage,
    CreatedAt,
    EndedAt,
}

#[async_trait::async_trait]
#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait's own signature; async_trait cannot match it otherwise"
)]
impl MigrationTrait for PastRooms {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                Table::create()
                    .table(PastRoom::Table)
                    .col(ColumnDef::new(PastRoom::Sid).string_len(36).not_null().primary_key())
                    .col(ColumnDef::new(PastRoom::Run).big_integer().not_null())
                    .col(ColumnDef::new(PastRoom::RoomId).string_len(64).not_null())
                    .col(ColumnDef::new(PastRoom::Title).string_len(255).not_null())
                    .col(ColumnDef::new(PastRoom::JoinedTotal).big_integer().not_null())
                    .col(ColumnDef::new(PastRoom::WebhookUrl).string_len(2048).not_null())
                    .col(ColumnDef::new(PastRoom::FromLandingPage).boolean().not_null())
                    .col(ColumnDef::new(PastRoom::CreatedAt).big_integer().not_null())
                    .col(ColumnDef::new(PastRoom::EndedAt).big_integer().not_null())
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("past_rooms_by_room")
                    .table(PastRoom::Table)
                    .col(PastRoom::RoomId)
                    .col(PastRoom::CreatedAt)
                    .to_owned(),
            )
            .await
    }
}

/// The order of lists over all rooms.
struct PastRoomsByTime;

impl MigrationName for PastRoomsByTime {
    fn name(&self) -> &'static str {
        "m0002_past_rooms_by_time"
    }
}

#[async_trait::async_trait]
#[expect(
    elided_lifetimes_in_paths,
    reason = "the trait's own signature; async_trait cannot match it otherwise"
)]
impl MigrationTrait for PastRoomsByTime {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_index(
                Index::create()
                    .name("past_rooms_by_time")
                    .table(PastRoom::Table)
                    .col(PastRoom::CreatedAt)
                    .col(PastRoom::Sid)
                    .to_owned(),
            )
            .await
    }
}
