// Short names for what the service's description says.
import type { components } from './schema';

type Schemas = components['schemas'];
export type Job = Schemas['JobView'];
export type JobList = Schemas['JobList'];
export type NewJob = Schemas['NewJob'];
export type Progress = Schemas['Progress'];
export type Queue = Schemas['QueueView'];
export type Picture = Schemas['ImageView'];
export type PictureList = Schemas['ImageList'];
export type Models = Schemas['Models'];
export type Model = Schemas['Model'];
export type Adapter = Schemas['Adapter'];
export type Embedding = Schemas['Embedding'];
export type Settings = Schemas['Settings'];
export type Style = Schemas['Style'];
export type Wildcard = Schemas['Wildcard'];
export type Upload = Schemas['Upload'];
export type Capabilities = Schemas['Capabilities'];
export type Problem = Schemas['Problem'];
export type Tag = Schemas['Tag'];

/** What a picture's file says of how it was made. Its pairs are written out here: the description has them as lists. */
export type Read = Omit<Schemas['Read'], 'items' | 'request'> & { items: [string, unknown][]; request: Json };

/** A table of a request. */
export type Json = { [field: string]: unknown };
