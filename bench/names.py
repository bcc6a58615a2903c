"""Names as a French and English company meets them: frequent ones often, rare ones seldom."""

import random

_FIRST = """
Marie Jean Pierre Michel André Philippe Nathalie Isabelle Sylvie Catherine Martine Christine
Anne François Françoise Jacques Bernard Nicolas Christophe Patrick Daniel Sophie Stéphane
Laurent Julien Sébastien Céline Émilie Élodie Aurélie Hélène Hervé Gérard René Rémi Rémy Benoît
Loïc Maël Noémie Zoé Chloé Léa Manon Camille Lucas Hugo Louis Jules Gabriel Raphaël Arthur Adam
Paul Nathan Théo Thomas Antoine Mathieu Matthieu Guillaume Alexandre Maxime Quentin Romain
Florian Vincent Olivier Thierry Pascal Éric Frédéric Bruno Dominique Didier Gilles Yves Yvette
Odile Monique Nicole Denise Jacqueline Jeannine Simone Suzanne Madeleine Geneviève Agnès
Brigitte Véronique Valérie Sandrine Karine Corinne Laurence Florence Delphine Virginie Séverine
Stéphanie Caroline Charlotte Clémence Mathilde Pauline Justine Marion Laura Sarah Inès Jade
Louise Alice Juliette Lola Eva Anaïs Océane Margaux Élise Estelle Fanny Gaëlle Maëlle Solène
Capucine Victor Victoire Augustin Baptiste Clément Corentin Damien Étienne Fabien Fabrice Gaël
Grégory Jérôme Jérémy Joël Kévin Ludovic Marc Martin Mickaël Noël Rodolphe Samuel Serge Sylvain
Tanguy Tristan Ulysse Valentin Xavier Yann Yannick Zacharie James Mary Robert Patricia John
Jennifer Michael Linda David Elizabeth William Barbara Richard Susan Joseph Jessica Charles
Christopher Karen Lisa Matthew Nancy Anthony Betty Mark Margaret Donald Sandra Steven Ashley
Andrew Kimberly Emily Joshua Donna Kenneth Michelle Kevin Carol Brian Amanda George Melissa
Timothy Deborah Ronald Jason Rebecca Edward Sharon Jeffrey Cynthia Ryan Kathleen Jacob Amy Gary
Angela Jonathan Shirley Stephen Brenda Larry Emma Justin Scott Pamela Brandon Benjamin Samantha
Gregory Katherine Alexander Patrick Frank Rachel Raymond Carolyn Jack Janet Dennis Maria Jerry
Olivia Tyler Heather Aaron Helen Jose Diane Henry Julie Douglas Joyce Peter Victoria Kelly
Nathan Ruth Zachary Joan Kyle Evelyn Walter Lauren Harold Judith Keith Megan Roger Christina
Arthur Sean Harry Oliver Amelia Isla Ava Freya Poppy Alfie Archie Freddie Oscar Callum Rhys
Gareth Siobhán Niamh Eoin Aoife Ewan Fiona Graham Hamish Iain Morag Nigel Rupert Tamsin Trevor
Wendy Yasmin Aisha Mohammed Karim Fatima Youssef Nadia Samir Leïla Amélie Björn Anneliese Jürgen
Käthe Zoë Søren Łukasz Agnieszka
"""

_STEMS = """
Mart Bern Dub Durand Rob Rich Pet Mor Laur Sim Mich Lef Ler Dav Roux Bert Fourn Gir Bonn Dup
Lamb Font Rous Vinc Mull Lefeb Mercier Blanch Guer Boy Garn Cheval Franç Leg Gauth Garc Perr
Robin Clém Morin Nic Henr Rous Mathi Gaut Mass March Duv Den Dum Mari Lemo Noël Mey Duf Meun
Brun Blan Gir Jol Riv Luc Bru Gail Barb Arn Martin Gér Roc Renar Schm Roy Lero Col Vid Carr
Picar Caron Rog Fab Aub Leme Renau Smith John Will Brow Tayl Dav Evan Wils Thom Robert Wright
Walk Whit Edw Gre Hall Wood Harr Lew Clark Jack Turn Hill Scott Coop War Moor Kin Watson Bak
Harris Morg All Jam Ander Phil Mitch Ben Lee Cook Bail Park Mill Sim Kell Marsh Coll Carp Hunt
Fish Shep Weav Coop Chand Sadd Fletch Thatch Gard Past Sher
"""

_ENDINGS = """
in ard ot eau el er ier et ain ois and on aud ault ez oux at y ie ac as eux ine elle ette ou
igny son s ton ley field man worth ford ham well wood brook stone land mann berg stein inski ova
sen dóttir
"""


def surnames(count: int = 4000) -> list[str]:
    """Several thousand surnames, the same ones each time."""
    chance = random.Random(4)
    whole = [stem + ending for stem in dict.fromkeys(_STEMS.split()) for ending in _ENDINGS.split()]
    chance.shuffle(whole)
    return list(dict.fromkeys(whole))[:count]


def first_names() -> list[str]:
    """Several hundred first names, some of them double."""
    chance = random.Random(5)
    single = list(dict.fromkeys(_FIRST.split()))
    double = [f"{one}-{chance.choice(single)}" for one in chance.sample(single, 120)]
    return single + double
