// The type of a board: Grafana's published types of dashboards, panels and Prometheus queries, combined so that a panel
// has the options of its type, and an override sets only existing properties. Where Grafana's types say `unknown`, the
// values in use are listed here.

import type * as raw from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type * as stat from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type * as table from '@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type * as timeseries from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';
import type { Dataquery } from '@grafana/grafana-foundation-sdk/dist/prometheus/types.gen';

/** The same type, with enum values as in JSON. */
type Plain<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends readonly (infer Item)[]
      ? Plain<Item>[]
      : T extends object
        ? { [Key in keyof T]: Plain<T[Key]> }
        : T;

type Needed<T, Keys extends keyof T> = T & { [Key in Keys]-?: NonNullable<T[Key]> };

/** What an override may set: a field of every panel, or one of this panel type. */
type Property<Own> =
  | { [Key in keyof raw.FieldConfig & string]-?: { id: Key; value: Key extends 'links' ? Link[] : raw.FieldConfig[Key] } }[keyof raw.FieldConfig & string]
  | { [Key in keyof Own & string]-?: { id: `custom.${Key}`; value: Own[Key] } }[keyof Own & string]
  // "Hide in table" sets one part of `hideFrom`.
  | { id: 'custom.hideFrom.viz'; value: boolean };

interface Link {
  title: string;
  url: string;
  targetBlank?: boolean;
}

interface Override<Own> {
  matcher: { id: 'byName' | 'byFrameRefID'; options: string };
  properties: Property<Own>[];
}

interface Fields<Own> {
  defaults: Omit<raw.FieldConfig, 'custom'> & { custom?: Own };
  overrides: Override<Own>[];
}

type Transformation =
  | { id: 'merge'; options: Record<string, never> }
  | {
      id: 'organize';
      options: {
        excludeByName: Record<string, boolean>;
        includeByName: Record<string, boolean>;
        indexByName: Record<string, number>;
        renameByName: Record<string, string>;
      };
    }
  | {
      id: 'configFromData';
      options: { configRefId: string; mappings: { fieldName: string; handlerKey: 'threshold1'; reducerId: 'lastNotNull' }[] };
    };

interface Source {
  type: 'prometheus';
  uid: '${datasource}';
}

type Query = Needed<
  Omit<Dataquery, '_implementsDataqueryVariant' | 'datasource'>,
  'refId' | 'editorMode' | 'format' | 'instant' | 'range'
> & { datasource: Source };

type PanelOf<Type extends string, Options, Own> = Omit<
  Needed<raw.Panel, 'id' | 'title' | 'description' | 'gridPos'>,
  'type' | 'options' | 'fieldConfig' | 'targets' | 'transformations' | 'datasource'
> & {
  type: Type;
  options: Options;
  fieldConfig: Fields<Own>;
  targets: Query[];
  transformations?: Transformation[];
  datasource: Source;
};

type Panel =
  | PanelOf<'stat', stat.Options, Record<string, never>>
  | PanelOf<'table', table.Options, table.FieldConfig>
  | PanelOf<'timeseries', timeseries.Options, timeseries.FieldConfig>;

type Row = Omit<Needed<raw.RowPanel, 'title' | 'gridPos'>, 'panels'> & { panels: Panel[] };

type Common = Needed<Omit<raw.VariableModel, 'type' | 'query' | 'datasource'>, 'label' | 'refresh'>;

type Variable =
  | (Common & { type: 'datasource'; query: 'prometheus' })
  | (Common & { type: 'query'; datasource: Source; query: { qryType: 1; query: string; refId: string } });

type Whole = Omit<
  Needed<raw.Dashboard, 'uid' | 'title' | 'description' | 'tags' | 'refresh' | 'time'>,
  'panels' | 'templating' | 'schemaVersion'
> & { schemaVersion: 42; templating: { list: Variable[] }; panels: (Panel | Row)[] };

/** A board, as in JSON. */
export type Board = Plain<Whole>;
