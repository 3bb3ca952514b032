//! Looking at a pipeline's database and tables, and taking the plan's steps.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_glue::Client;
use aws_sdk_glue::types::{
    Column as GlueColumn, DatabaseInput, SerDeInfo, StorageDescriptor, Table, TableInput,
};
use stockstream_crds::pipeline::GlueTable;
use stockstream_crds::spec::Management;

use super::calls::Call;
use super::error::{AwsError, AwsErrorKind};
use super::stream_plan::Owner;
use super::table_plan::{
    Column, Format, MADE_FOR, OWNER, TableFacts, TableStep, TableWish, next_step,
};
use super::{Standing, State};
use crate::failpoint::{Point, meet};

/// What a look at the catalog gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogLook {
    /// Its standing.
    pub standing: Standing,
    /// True when the operator made the table of rows.
    pub is_ours: bool,
}

/// The catalog of one region.
#[derive(Clone, Debug)]
pub struct Catalogs {
    client: Client,
}

impl Catalogs {
    /// By a client of the catalog's region.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Looks at the database and the tables, and makes or mends them.
    pub async fn reconcile(
        &self,
        catalog: &GlueTable,
        wishes: &[TableWish],
        owner: &Owner,
    ) -> CatalogLook {
        let mut done = Vec::new();
        let mut is_ours = false;
        let standing = match self
            .all(catalog, wishes, owner, &mut done, &mut is_ours)
            .await
        {
            Ok(standing) => standing,
            Err(error) => error.standing(),
        };
        CatalogLook {
            standing: Standing { done, ..standing },
            is_ours,
        }
    }

    async fn all(
        &self,
        catalog: &GlueTable,
        wishes: &[TableWish],
        owner: &Owner,
        done: &mut Vec<(&'static str, String)>,
        is_ours: &mut bool,
    ) -> Result<Standing, AwsError> {
        let database = &catalog.database;
        let is_managed = catalog.management == Management::Managed;
        if is_managed && self.make_database(database).await? {
            done.push(("DatabaseCreated", format!("made the database {database}")));
        }
        // What somebody else manages has a table of rows; whether there are others is theirs to know.
        let wishes = if is_managed {
            wishes
        } else {
            &wishes[..wishes.len().min(1)]
        };
        for wish in wishes {
            let full = format!("{database}.{}", wish.name);
            let found = self.find(database, &wish.name).await?;
            let facts = found.as_ref().map(facts);
            if let Some(facts) = &facts
                && wish.name == catalog.table
            {
                *is_ours = facts.parameters.get(MADE_FOR) == Some(&owner.uid);
            }
            let step = next_step(wish, facts.as_ref());
            match (step, found) {
                (TableStep::None, _) => {}
                (TableStep::Mismatch(what), _) => {
                    return Ok(Standing::new(
                        State::Stuck,
                        "TableDiffers",
                        format!(
                            "the table {full} can't be used: {what}; name another in spec.catalog.glue.table, or drop that one (its files stay)"
                        ),
                    ));
                }
                (TableStep::Create, _) if !is_managed => {
                    return Ok(Standing::new(
                        State::Stuck,
                        "NotFound",
                        format!(
                            "there is no table {full}, and spec.catalog.glue.management is External: make it, or let the operator (Managed)"
                        ),
                    ));
                }
                (TableStep::Update { columns, .. }, _) if !is_managed => {
                    let names: Vec<&str> =
                        columns.iter().map(|column| column.name.as_str()).collect();
                    return Ok(Standing::new(
                        State::Ready,
                        "TableDiffers",
                        format!(
                            "the table {full} is managed elsewhere and lacks columns or parameters: {}",
                            names.join(", ")
                        ),
                    ));
                }
                (TableStep::Create, _) => {
                    self.create(database, wish, owner).await?;
                    meet(Point::TableCreated);
                    *is_ours |= wish.name == catalog.table;
                    done.push(("TableCreated", format!("made the table {full}")));
                }
                (
                    TableStep::Update {
                        columns,
                        parameters,
                    },
                    Some(found),
                ) => {
                    self.update(database, found, &columns, &parameters).await?;
                    meet(Point::TableUpdated);
                    let names: Vec<&str> = columns
                        .iter()
                        .map(|column| column.name.as_str())
                        .chain(parameters.keys().map(String::as_str))
                        .collect();
                    done.push((
                        "TableUpdated",
                        format!("the table {full} has got {}", names.join(", ")),
                    ));
                }
                (TableStep::Update { .. }, None) => {}
            }
        }
        Ok(Standing::new(
            State::Ready,
            "TableReady",
            format!("rows are found in {database}.{}", catalog.table),
        ))
    }

    /// True when it was made now.
    async fn make_database(&self, name: &str) -> Result<bool, AwsError> {
        let found = self.client.get_database().name(name).send().await;
        match found.map_err(|error| AwsError::of(Call::GetDatabase, name, &error)) {
            Ok(_) => return Ok(false),
            Err(error) if error.kind == AwsErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let input = DatabaseInput::builder()
            .name(name)
            .description("Made by Stockstream")
            .build()
            .map_err(|error| invalid(Call::CreateDatabase, name, &error))?;
        let made = self
            .client
            .create_database()
            .database_input(input)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::CreateDatabase, name, &error));
        match made {
            Ok(_) => {
                meet(Point::DatabaseCreated);
                Ok(true)
            }
            Err(error) if error.kind == AwsErrorKind::Exists => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn find(&self, database: &str, table: &str) -> Result<Option<Table>, AwsError> {
        let target = format!("{database}.{table}");
        let found = self
            .client
            .get_table()
            .database_name(database)
            .name(table)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::GetTable, &target, &error));
        match found {
            Ok(answer) => Ok(answer.table),
            Err(error) if error.kind == AwsErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        database: &str,
        wish: &TableWish,
        owner: &Owner,
    ) -> Result<(), AwsError> {
        let target = format!("{database}.{}", wish.name);
        let invalid = |error: aws_smithy_types::error::operation::BuildError| {
            invalid(Call::CreateTable, &target, &error)
        };
        let columns = glue_columns(&wish.columns).map_err(invalid)?;
        let keys: Vec<Column> = wish
            .keys
            .iter()
            .map(|name| Column {
                name: name.clone(),
                kind: "string".to_owned(),
            })
            .collect();
        let (input, output, serde) = match wish.format {
            Format::Parquet => (
                "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
                "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
            ),
            Format::Json => (
                "org.apache.hadoop.mapred.TextInputFormat",
                "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                "org.openx.data.jsonserde.JsonSerDe",
            ),
        };
        let descriptor = StorageDescriptor::builder()
            .set_columns(Some(columns))
            .location(&wish.location)
            .input_format(input)
            .output_format(output)
            .serde_info(SerDeInfo::builder().serialization_library(serde).build())
            .build();
        let classification = match wish.format {
            Format::Parquet => "parquet",
            Format::Json => "json",
        };
        let own = [
            ("classification", classification),
            ("EXTERNAL", "TRUE"),
            (OWNER, owner.name.as_str()),
            (MADE_FOR, owner.uid.as_str()),
        ];
        let mut parameters: HashMap<String, String> = own
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        parameters.extend(wish.parameters.clone());
        let input = TableInput::builder()
            .name(&wish.name)
            .description(wish.description)
            .table_type("EXTERNAL_TABLE")
            .set_partition_keys(Some(glue_columns(&keys).map_err(invalid)?))
            .set_parameters(Some(parameters))
            .storage_descriptor(descriptor)
            .build()
            .map_err(invalid)?;
        let made = self
            .client
            .create_table()
            .database_name(database)
            .table_input(input)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::CreateTable, &target, &error));
        match made {
            Ok(_) => Ok(()),
            // Somebody was faster: what it is, is seen at the next look.
            Err(error) if error.kind == AwsErrorKind::Exists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// All that the table has stays, and this is added.
    async fn update(
        &self,
        database: &str,
        found: Table,
        columns: &[Column],
        parameters: &BTreeMap<String, String>,
    ) -> Result<(), AwsError> {
        let target = format!("{database}.{}", found.name);
        let invalid = |error: aws_smithy_types::error::operation::BuildError| {
            invalid(Call::UpdateTable, &target, &error)
        };
        let version = found.version_id.clone();
        let mut descriptor = found
            .storage_descriptor
            .unwrap_or_else(|| StorageDescriptor::builder().build());
        let mut all = descriptor.columns.take().unwrap_or_default();
        all.extend(glue_columns(columns).map_err(invalid)?);
        descriptor.columns = Some(all);
        let mut all = found.parameters.unwrap_or_default();
        all.extend(parameters.clone());
        let input = TableInput::builder()
            .name(&found.name)
            .set_description(found.description)
            .set_owner(found.owner)
            .set_retention(Some(found.retention))
            .set_partition_keys(found.partition_keys)
            .set_view_original_text(found.view_original_text)
            .set_view_expanded_text(found.view_expanded_text)
            .set_table_type(found.table_type)
            .set_parameters(Some(all))
            .storage_descriptor(descriptor)
            .build()
            .map_err(invalid)?;
        self.client
            .update_table()
            .database_name(database)
            .table_input(input)
            // Fails when somebody changed it meanwhile, instead of undoing that.
            .set_version_id(version)
            .send()
            .await
            .map_err(|error| AwsError::of(Call::UpdateTable, &target, &error))?;
        Ok(())
    }

    /// Deletes the tables that the operator made for this StockStream; their files stay, and so does the database.
    ///
    /// # Errors
    /// When one couldn't be deleted, or be told whose it is.
    pub async fn delete(
        &self,
        catalog: &GlueTable,
        wishes: &[TableWish],
        owner: &Owner,
    ) -> Result<(), AwsError> {
        for wish in wishes {
            let Some(found) = self.find(&catalog.database, &wish.name).await? else {
                continue;
            };
            if facts(&found).parameters.get(MADE_FOR) != Some(&owner.uid) {
                continue;
            }
            let target = format!("{}.{}", catalog.database, wish.name);
            let deleted = self
                .client
                .delete_table()
                .database_name(&catalog.database)
                .name(&wish.name)
                .send()
                .await
                .map_err(|error| AwsError::of(Call::DeleteTable, &target, &error));
            match deleted {
                Err(error) if error.kind != AwsErrorKind::NotFound => return Err(error),
                _ => meet(Point::TableDeleted),
            }
        }
        Ok(())
    }
}

fn facts(table: &Table) -> TableFacts {
    let descriptor = table.storage_descriptor.as_ref();
    TableFacts {
        location: descriptor
            .and_then(|descriptor| descriptor.location.clone())
            .unwrap_or_default(),
        columns: descriptor
            .map(|descriptor| descriptor.columns())
            .unwrap_or_default()
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                kind: column.r#type.clone().unwrap_or_default(),
            })
            .collect(),
        keys: table
            .partition_keys()
            .iter()
            .map(|column| column.name.clone())
            .collect(),
        parameters: table
            .parameters
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
    }
}

fn glue_columns(
    columns: &[Column],
) -> Result<Vec<GlueColumn>, aws_smithy_types::error::operation::BuildError> {
    columns
        .iter()
        .map(|column| {
            GlueColumn::builder()
                .name(&column.name)
                .r#type(&column.kind)
                .build()
        })
        .collect()
}

/// Never: all required fields are set. Should the SDK think otherwise, it is told like a refusal.
fn invalid(call: Call, target: &str, error: &dyn std::error::Error) -> AwsError {
    AwsError {
        call,
        target: target.to_owned(),
        kind: AwsErrorKind::Refused,
        detail: error.to_string(),
    }
}
